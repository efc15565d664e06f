"""A server in the form that the page asks for, with images from memory and a record of requests."""

import io
import json
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
from PIL import Image

import alseg
from alseg.annotate.overlays import of_mask
from alseg.datasets import make_glands

PAGE = Path(alseg.__file__).parent / "annotate" / "page"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'"
)
TOKEN = "secret"
OPEN = 255
CLASSES = [("background", "#64748b"), ("gland", "#10b981"), ("lumen", "#f59e0b")]


class Item:
    """One image, its marks, its draft, and what was saved."""

    def __init__(self, number, pixels, proposal):
        self.id, self.pixels, self.proposal = number, pixels, proposal
        self.marks = np.full(pixels.shape[:2], OPEN, np.uint8).tobytes()
        self.draft, self.revision, self.state = None, 0, "open"
        self.check = "open" if number == 5 else None
        self.label = ["benign", "malignant"][number % 2]
        self.frame = self.region = None
        self.unknown = {}  # places that nobody can tell, and the revision at which it was said

    def described(self):
        height, width = self.pixels.shape[:2]
        return {
            "id": self.id,
            "name": f"{self.label}/slide-{self.id:03d}.png",
            "folder": "",
            "label": self.label,
            "width": width,
            "height": height,
            "why": "Unlike anything seen so far: its texture is far from that of the others.",
            "revision": self.revision,
            "frame": self.frame,
            "region": self.region,
            "state": self.state,
            "uncertainty": None if self.id % 4 == 3 else self.id % 10 / 10,
            "proposal": self.proposal is not None and self.check != "open",
            "check": self.check,
        }

    def superpixels(self):
        """Squares of 8 pixels, whatever is there, at half the size of the image."""
        down, across = (side // 2 for side in self.pixels.shape[:2])
        y, x = np.mgrid[:down, :across]
        labels = (y // 4) * (across // 4) + x // 4
        headers = {"X_Alseg_Width": across, "X_Alseg_Height": down}
        return labels.astype("<u2").tobytes(), headers

    def points(self, n):
        """Pixels without a mark that counts, in an order of chance."""
        height, width = self.pixels.shape[:2]
        order = np.random.default_rng(self.id).permutation(height * width)
        is_open = np.frombuffer(self.marks, np.uint8) == OPEN
        before = [r * width + c for (r, c), at in self.unknown.items() if at < self.revision]
        is_open[before] = False
        chosen = order[is_open[order]][:n]
        points = np.column_stack([chosen // width, chosen % width]).tolist()
        unknown = [k for k, at in enumerate(points) if tuple(at) in self.unknown]
        return {"points": points, "unsure": 0, "unknown": unknown}

    def untold(self, row, column, revision, told):
        if told:
            self.unknown.pop((row, column), None)
        else:
            self.unknown[row, column] = revision
        return {}

    def name_class(self, label):
        self.label = label
        return {}

    def skip(self):
        self.state, self.revision = "skipped", self.revision + 1
        return {"revision": self.revision}

    def picture(self, size=None):
        image = Image.fromarray(self.pixels)
        if size:
            image.thumbnail((size, size))
        file = io.BytesIO()
        image.save(file, "JPEG" if self.pixels.size > 4e6 else "PNG")
        return file.getvalue()


class State:
    """What the server holds; `requests` are the (method, path) that came, in order."""

    def __init__(self, items):
        self.items = items
        self.requests, self.log = [], []
        self.quality = self.training = None  # what it says of checks, and of what is learned

    def project(self):
        return {
            "name": "Colon glands",
            "n_images": len(self.items),
            "n_done": sum(item.state != "open" for item in self.items),
            "mask_classes": [
                {"value": value, "name": name, "color": color}
                for value, (name, color) in enumerate(CLASSES)
            ],
            "labels": ["benign", "malignant"],
        }

    def standing(self, query):
        return {"quality": self.quality, "training": self.training}

    def next(self, query):
        after = int(query.get("after", -1))
        order = self.items[after + 1 :] + self.items[: after + 1]
        for item in order:
            if item.state == "open" and item.id != after:
                return item.described()
        return {"done": True}

    def gallery(self, query):
        start, count = int(query["offset"]), int(query["limit"])
        left = [
            item
            for item in self.items
            if query.get("find", "") in item.described()["name"]
            and query.get("label", item.label) == item.label
        ]
        found = [item for item in left if query.get("state", item.state) == item.state]
        ids = [item.id for item in found]
        around = int(query.get("around", -1))
        return {
            "total": len(found),
            "all": len(left),
            "counts": dict(Counter(item.state for item in left)),
            "at": ids.index(around) if around in ids else None,
            "looked": {"newest": len(found), "older": 0, "none": 0},
            "images": [item.described() for item in found[start : start + count]],
        }

    def predict(self, query):
        return {"out": "/somewhere/predicted"}

    def save(self, item, query, body):
        """(status, answer) of marks or a draft."""
        if int(query["revision"]) != item.revision:
            said = f"Revision {item.revision} is there, the page has {query['revision']}."
            return 409, {"error": said, "revision": item.revision}
        answer = query.get("answer")
        if answer == "nothing":
            body = bytes(len(item.marks))
        if len(body) != len(item.marks) or (answer == "all" and OPEN in body):
            return 400, {"error": f"not a whole mask: {len(body)} bytes."}
        if answer is None:
            item.draft = body
            return 200, {}
        item.marks, item.draft = body, None
        item.revision += 1
        item.state = "marked" if answer == "marks" else "done"
        told = {"revision": item.revision}
        if item.check:
            item.check = told["check"] = None if answer == "marks" else "counted"
        return 200, told


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def _send(self, body, kind="application/json", status=200, **headers):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(status)
        headers |= {
            "Content-Type": kind,
            "Content-Length": len(body),
            "X-Content-Type-Options": "nosniff",
        }
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self):
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        state = self.server.state
        state.requests.append((self.command, self.path))
        parts = url.path.strip("/").split("/")
        if parts == [""]:
            page = (PAGE / "index.html").read_bytes()
            return self._send(page, "text/html; charset=utf-8", Content_Security_Policy=POLICY)
        if parts[0] == "page":
            path = PAGE / parts[1]
            return self._send(path.read_bytes(), TYPES[path.suffix])
        if self.headers.get("X-Alseg-Token") != TOKEN:
            return self._send({"error": "no token."}, status=403)
        if parts[1] == "log":
            state.log.append(json.loads(body))
            return self._send({})
        if parts[1] != "images":
            made = state.project() if parts[1] == "project" else getattr(state, parts[1])(query)
            return self._send(made)
        return self._image(state.items[int(parts[2])], parts[3:], query, body)

    def _image(self, item, what, query, body):
        what = what[0] if what else "itself"
        if what == "itself":
            return self._send(item.described())
        if what == "overlay":
            shown = np.frombuffer(
                item.proposal if query["of"] == "proposal" else item.marks, np.uint8
            )
            shown = shown.reshape(item.pixels.shape[:2])
            return self._send(
                of_mask(np.int16(shown != 0), ["#000000", "#10b981"], 160), "image/png"
            )
        if what == "agreement":
            return self._send({"dice": 0.5, "classes": [], "marked": 0.25})
        if what in ("picture", "thumbnail"):
            return self._send(item.picture(160 if what == "thumbnail" else None), "image/png")
        if what == "proposal":
            training = self.server.state.training or {"version": 0}
            version = {"X_Alseg_Version": training["version"]}
            return self._send(item.proposal, "application/octet-stream", **version)
        if what == "superpixels":
            body, headers = item.superpixels()
            return self._send(body, "application/octet-stream", **headers)
        if what == "points":
            return self._send(item.points(int(query["n"])))
        if what in ("untold", "label", "skip"):
            act = {"untold": item.untold, "label": item.name_class, "skip": item.skip}[what]
            return self._send(act(**json.loads(body or "{}")))
        if self.command == "PUT":
            status, said = self.server.state.save(item, query, body)
            return self._send(said, status=status)
        headers = {"X_Alseg_Revision": item.revision}
        if item.draft is not None:
            headers["X_Alseg_Draft"] = 1
        return self._send(item.draft or item.marks, "application/octet-stream", **headers)

    do_GET = do_PUT = do_POST = _answer


def glands(n=6, image_size=(192, 288)):
    """Items with made glands; the proposal of each is its mask, made soft and a bit wrong."""
    from scipy.ndimage import gaussian_filter

    data = make_glands(n, image_size=image_size, random_state=0)
    items = []
    for number, (image, mask) in enumerate(zip(data.images, data.masks)):
        pixels = image if image.dtype == np.uint8 else np.round(image * 255).astype(np.uint8)
        soft = gaussian_filter((np.asarray(mask) > 0).astype(float), 3)
        proposal = np.round(255 * np.clip(soft, 0, 1)).astype(np.uint8)
        items.append(Item(number, pixels, proposal.tobytes() if number % 3 != 2 else None))
    return items


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):  # the page has given a request up
            super().handle_error(request, client_address)


@contextmanager
def serving(items):
    """(state, address of the page)."""
    server = _Server(("127.0.0.1", 0), Handler)
    server.state = State(items)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.state, f"http://127.0.0.1:{server.server_port}/?token={TOKEN}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
