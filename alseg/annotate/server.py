"""The requests that the page makes, answered: a starlette application for one project.

It trusts nobody but the page that was opened with its token: other hosts and origins are refused
before anything is looked at, bodies are read only up to what the image can need, and only the files
of the page are served.
"""

import functools
import json
import math
import secrets
from http import HTTPStatus
from importlib.resources import files
from pathlib import PurePosixPath

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from alseg.annotate.asked_points import asked_points
from alseg.annotate.behind import OFF, PREDICTED
from alseg.annotate.bytes_of_masks import as_pixels
from alseg.annotate.cells import Cells
from alseg.annotate.legend import shown_classes
from alseg.annotate.listing import Listing
from alseg.annotate.marks import Stale
from alseg.annotate.overlays import KINDS, agreement, of_difference, of_mask
from alseg.annotate.quality import proposed_classes
from alseg.annotate.shown import SIDE, Proposals, picture, thumbnail
from alseg.images import plain_file
from alseg.validation import message, printable

TOKEN = "X-Alseg-Token"
PAGE = "X-Alseg-Page"  # a name that each opened page gives itself
_TEXT = 65536  # bytes of a JSON body
_MOST = 500  # images of a gallery's page
_SHOWN = 16  # proposals remembered, to see how far what is drawn agrees with them
_POINTS = 1000  # pixels of an image that are asked about at once
_THUMBNAILS = 2000  # some kilobytes each
_LARGE = 1024  # pixels of the longer side of a thumbnail or an overlay

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json",
}
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; worker-src 'self'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


def page_files():
    """The files of the page: bytes by their path below `page/`."""
    found = {}

    def walk(folder, above):
        for entry in folder.iterdir():
            name = f"{above}{entry.name}"
            if entry.is_dir():
                walk(entry, f"{name}/")
            elif PurePosixPath(name).suffix in _KINDS:
                found[name] = entry.read_bytes()

    walk(files("alseg.annotate") / "page", "")
    return found


def allowed_hosts(host, port):
    """What the Host of a request may be; None for any, where the server listens to all the net.

    Examples
    --------
    >>> sorted(allowed_hosts("127.0.0.1", 8000))
    ['127.0.0.1:8000', 'localhost:8000']
    """
    if host in ("", "0.0.0.0", "::"):
        return None
    return {f"{name}:{port}" for name in ("127.0.0.1", "localhost", host)}


def make_app(marks, token, hosts, page=None, behind=None):
    """The application.

    Parameters
    ----------
    marks : Marks
    token : str
        What requests must carry.
    hosts : set of str, or None
        See `allowed_hosts`.
    page : dict of str to bytes, or None, default=None
        The files of the page, `index.html` among them; None takes those of the package.
    behind : Behind or None, default=None
        What learns behind the pen; None learns nothing, and proposes by the model fitted last.

    Returns
    -------
    callable
        An ASGI application.
    """
    desk = _Desk(marks, page_files() if page is None else page, behind)
    one = "/api/images/{id:int}"
    routes = [
        Route("/", desk.index),
        Route("/page/{name:path}", desk.file),
        Route("/api/project", desk.project),
        Route("/api/next", desk.next),
        Route("/api/gallery", desk.gallery),
        Route("/api/log", desk.log, methods=["POST"]),
        Route("/api/standing", desk.standing),
        Route("/api/predict", desk.predict, methods=["POST"]),
        Route("/api/classes", desk.classes, methods=["PUT"]),
        Route("/api/empty", desk.empty, methods=["PUT"]),
        Route("/api/undo", desk.undo, methods=["POST"]),
        Route(one, desk.image),
        Route(f"{one}/picture", desk.picture),
        Route(f"{one}/thumbnail", desk.thumbnail),
        Route(f"{one}/overlay", desk.overlay),
        Route(f"{one}/agreement", desk.agreement),
        Route(f"{one}/proposal", desk.proposal),
        Route(f"{one}/points", desk.points),
        Route(f"{one}/untold", desk.untold, methods=["PUT"]),
        Route(f"{one}/superpixels", desk.superpixels),
        Route(f"{one}/marks", desk.marks),
        Route(f"{one}/marks", desk.save, methods=["PUT"]),
        Route(f"{one}/draft", desk.draft, methods=["PUT"]),
        Route(f"{one}/skip", desk.skip, methods=["POST"]),
        Route(f"{one}/label", desk.label, methods=["PUT"]),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: _refused,
            Stale: _stale,
            ValueError: _wrong,
            OSError: _failed,
            Exception: _failed,
        },
    )
    app.router.redirect_slashes = False
    return _Guard(app, token, hosts)


class _Json(JSONResponse):
    """In ASCII: names of files may hold bytes that are no UTF-8."""

    def render(self, content):
        return json.dumps(content, allow_nan=False).encode("ascii")


# -- what is refused -------------------------------------------------------------------------------


class _Guard:
    """Refuses what does not come from the page, and says to browsers what the page may do."""

    def __init__(self, app, token, hosts):
        self.app, self.token, self.hosts = app, token, hosts

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def send_with_headers(event):
            if event["type"] == "http.response.start":
                ours = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                event = {**event, "headers": [*event["headers"], *ours]}
            await send(event)

        problem = self._problem(scope)
        answer = self.app if problem is None else _error(*problem)
        await answer(scope, receive, send_with_headers)

    def _problem(self, scope):
        """Status and sentence of what is wrong with a request, or None."""
        given = {}
        for name, value in scope["headers"]:
            given.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        host, origin = given.get("host", [""]), given.get("origin", [])
        if len(host) != 1 or (self.hosts is not None and host[0].lower() not in self.hosts):
            return 403, f"the host {printable(host[0])!r} is not that of this page."
        if any(found.lower() != f"http://{host[0].lower()}" for found in origin):
            return 403, f"the origin {printable(origin[0])!r} is not that of this page."
        path = scope["path"]
        if not (path.isascii() and path.isprintable()):  # a line feed at its end would be let pass
            return 404, f"the page has no file and no address {printable(path)!r}."
        if path.startswith("/page/"):
            return None
        tokens = given.get(TOKEN.lower(), [])
        if path == "/":
            query = scope.get("query_string", b"").decode("latin-1")
            tokens = [part[6:] for part in query.split("&") if part.startswith("token=")]
        same = len(tokens) == 1 and secrets.compare_digest(
            tokens[0].encode("latin-1"), self.token.encode()
        )
        return None if same else (401, "the token is missing or wrong: open the address again.")


def _error(status, text, **more):
    return _Json({"error": text, **more}, status)


def _refused(request, error):
    text = error.detail
    if text == HTTPStatus(error.status_code).phrase:  # starlette's own
        text = f"{request.method} {printable(request.url.path)}: {text.lower()}."
    return _Json({"error": text}, error.status_code, headers=error.headers)


def _stale(request, error):
    return _error(409, str(error), revision=error.revision)


def _wrong(request, error):
    return _error(400, str(error))


def _failed(request, error):
    return _error(500, str(error) or type(error).__name__)


async def _body(request, most):
    """The body of a request, not read beyond `most` bytes."""
    said = request.headers.get("content-length", "0")
    if not said.isdecimal() or int(said) > most:
        raise HTTPException(413, f"the body is too large: at most {most} bytes are taken.")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise HTTPException(413, f"the body is too large: at most {most} bytes are taken.")
        parts.append(part)
    return b"".join(parts)


async def _json(request, names, or_also=()):
    """The JSON object of a request, which has these names and no number that is not finite."""
    body = await _body(request, _TEXT)

    def number(text):
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(text)
        return value

    try:
        found = json.loads(body, parse_float=number, parse_constant=number)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or set(found) - set(or_also) != set(names):
        raise HTTPException(400, f"the body must be a JSON object of {', '.join(names)}.")
    return found


def _natural(request, name, default=None):
    """A number of the query."""
    text = request.query_params.get(name, default)
    if text is None or not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise HTTPException(400, f"{name} must be an integer >= 0, got {printable(str(text))!r}.")
    return int(text)


def _page_of(request):
    """The name of the page that asks, or None."""
    name = request.headers.get(PAGE)
    return None if name is None else name[:64]


def _window(given):
    """Window and channels of a picture, of a query: see `in_window`."""
    low, high = (_percentile(given, name) for name in ("low", "high"))
    channels = given.get("channels")
    if channels is None:
        return low, high, None
    numbers = channels.split(",")
    if not all(n.isascii() and n.isdecimal() and len(n) < 6 for n in numbers):
        raise HTTPException(400, f"channels must be integers, got {printable(channels)!r}.")
    return low, high, [int(n) for n in numbers]


def _percentile(given, name):
    text = given.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise HTTPException(400, f"{name} must be a number in [0, 100], got {printable(text)!r}.")
    return value


# -- what is answered ------------------------------------------------------------------------------


class _Desk:
    """The answers, a method for each address. Those that are not `async` run in threads."""

    def __init__(self, marks, page, behind=None):
        self.of, self.page, self.behind = marks, page, behind
        self.proposals = behind or Proposals(marks.project, marks.images)
        marks.frame = self.proposals.frame
        self.cells = Cells(marks.images)
        self.shown = {}  # proposals that pages got last
        self.listing = Listing(
            marks,
            self.proposals.uncertainty,
            lambda i: marks.checks.status(marks.names[i]),
            self.proposals.older,
        )
        self.thumbnails = functools.lru_cache(_THUMBNAILS)(
            lambda i, side: thumbnail(marks.images[i], side)
        )

    def _id(self, request):
        i = request.path_params["id"]
        if i >= len(self.of.names):
            raise HTTPException(404, f"there is no image {i}.")
        return i

    def _of_image(self, function, i):
        """What is read of an image, or that it cannot be read."""
        try:
            return function(i)
        except (OSError, ValueError) as error:
            raise HTTPException(404, str(error)) from error

    def _of_pixels(self, function, i):
        """The same of what reads all of its file: one that is broken is not asked for again."""
        try:
            return function(i)
        except (OSError, ValueError) as error:
            self.of.headers.note_broken(i, error)
            raise HTTPException(404, str(error)) from error

    def _described(self, i):
        try:
            found = self.of.describe(i)
        except (OSError, ValueError) as error:
            found = {
                "id": i,
                "name": self.of.names[i],
                "label": self.of.label(i),
                "why": "",
            }
            found |= {"width": 0, "height": 0, "revision": self.of.revision(i)}
            found |= {"state": "unreadable", "error": str(error), "check": None}
        hidden = found["check"] == "open"
        found["proposal"] = self.proposals.there and not hidden
        found["version"] = None if hidden else self.proposals.version(i)
        found["uncertainty"] = self.proposals.uncertainty(i)
        found["frame"] = None if hidden else self.proposals.frame(i)
        return found

    def index(self, request):
        return Response(self.page["index.html"], media_type=_KINDS[".html"])

    def file(self, request):
        name = request.path_params["name"]
        if name not in self.page:
            raise HTTPException(404, f"the page has no file {printable(name)!r}.")
        return Response(self.page[name], media_type=_KINDS[PurePosixPath(name).suffix])

    def project(self, request):
        project = self.of.project
        found = {
            "name": project.data.name,
            "n_images": len(self.of.names),
            "n_done": self.of.n_answered(),
            "n_part": self.of.n_in_part(),
            "mask_classes": self._classes(),
            "labels": self.of.labels,
            "empty": list(project.state.get("empty", ())),
            "first_start": project.option("mask_classes") is None and not project.has_drawn().any(),
            "regions": self.of.regions.asked,
        }
        return _Json(found)

    def standing(self, request):
        training = OFF if self.behind is None else self.behind.standing()
        found = {"training": training, "quality": self.of.quality.standing()}
        if self.behind is not None:
            found["predict"] = self.behind.predicting()
        return _Json(found)

    def _classes(self):
        project = self.of.project
        return shown_classes(project.class_names, project.state.get("colors", ()))

    async def classes(self, request):
        found = await _json(request, ["names", "colors"])
        await run_in_threadpool(self.of.set_classes, found["names"], found["colors"])
        return _Json({"mask_classes": self._classes()})

    async def empty(self, request):
        found = await _json(request, ["label", "empty"])
        await run_in_threadpool(self.of.set_empty, found["label"], found["empty"])
        return _Json({"empty": list(self.of.project.state.get("empty", ()))})

    async def undo(self, request):
        found = await _json(request, ["id"])
        i = self._known(found["id"])
        await run_in_threadpool(self.of.unskip, i)
        return _Json({"revision": self.of.revision(i)})

    def _known(self, i):
        if isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < len(self.of.names):
            raise HTTPException(404, "there is no image of this id.")
        return i

    def next(self, request):
        after = None
        if "after" in request.query_params:
            after = _natural(request, "after")
            if after >= len(self.of.names):
                raise HTTPException(404, f"there is no image {after}.")
        i = self.of.next(after)
        if self.behind is not None:
            self.behind.opens(self.of.upcoming(i))
        return _Json({"done": True} if i is None else self._described(i))

    def image(self, request):
        i = self._id(request)
        self._of_image(self.of.size, i)
        return _Json(self._described(i))

    def gallery(self, request):
        asked = request.query_params
        limit = min(_natural(request, "limit", "200"), _MOST)
        around = _natural(request, "around") if "around" in asked else None
        found = self.listing.page(
            _natural(request, "offset", "0"),
            limit,
            sort=asked.get("sort", "name"),
            state=asked.get("state"),
            label=asked.get("label"),
            find=asked.get("find", ""),
            around=around,
        )
        for image in found["images"]:
            image["proposal"] = self.proposals.there and image["check"] != "open"
        return _Json(found)

    def picture(self, request):
        i, given = self._id(request), request.query_params
        path = self.of.images.path(i)
        plain = None
        if path is not None and not given:
            plain = self._of_pixels(lambda i: plain_file(path), i)
        if plain is None:
            window = _window(given)
            image = self._of_pixels(self.of.images.__getitem__, i)
            plain = "image/bmp", picture(image, *window)
        kind, data = plain
        return Response(data, media_type=kind)

    def thumbnail(self, request):
        i, side = self._id(request), self._side(request)
        small = self._of_pixels(lambda i: self.thumbnails(i, side), i)
        return Response(small, media_type="image/jpeg")

    def _side(self, request):
        side = _natural(request, "side", str(SIDE))
        if not 1 <= side <= _LARGE:
            raise ValueError(message("side", f"an integer in [1, {_LARGE}]", side))
        return side

    def overlay(self, request):
        i, side, of = self._id(request), self._side(request), request.query_params.get("of")
        if of not in KINDS:
            raise ValueError(message("of", f"one of {list(KINDS)}", of))
        mask = None if of == "proposal" else self._counted(i)
        if of == "difference":
            drawn = of_difference(mask, self._proposed(i), side)
        else:
            colours = [found["color"] for found in self._classes()]
            drawn = of_mask(self._proposed(i) if mask is None else mask, colours, side)
        return Response(drawn, media_type="image/png")

    def agreement(self, request):
        i = self._id(request)
        mask = self._counted(i)
        return _Json(agreement(mask, self._proposed(i), self.of.project.class_names))

    def _counted(self, i):
        mask = self._of_image(self.of.counted, i)
        if mask is None:
            raise HTTPException(404, f"{self.of.names[i]} has no marks that count.")
        return mask

    def _proposal(self, i):
        """What is proposed, with its version: asked for later, that may be another's."""
        if self.listing.check(i) == "open":
            text = f"{self.of.names[i]} is a check: its proposal is shown once it is marked."
            raise HTTPException(404, text)
        found = self._of_image(self.proposals.proposal, i)
        if found is None:
            raise HTTPException(404, "there is no proposal: no model is fitted yet.")
        return found

    def _proposed(self, i):
        _, found = self._proposal(i)
        return proposed_classes(found, self._of_image(self.of.size, i))

    def proposal(self, request):
        i = self._id(request)
        version, found = self._proposal(i)
        self.shown[i] = found
        while len(self.shown) > _SHOWN:
            self.shown.pop(next(iter(self.shown)), None)
        headers = {"X-Alseg-Version": str(version)}
        return Response(found, media_type="application/octet-stream", headers=headers)

    def predict(self, request):
        if self.behind is None:
            raise HTTPException(409, OFF["text"])
        self.behind.predict()
        return _Json({"out": str(self.of.project.folder / PREDICTED)})

    def points(self, request):
        i, n = self._id(request), min(_POINTS, _natural(request, "n", "20"))
        n_unsure = _natural(request, "unsure", "0")
        proposal = self._of_image(self.proposals, i) if n_unsure else None
        points, n_unsure = self._of_image(
            lambda i: asked_points(self.of, i, n, n_unsure, proposal), i
        )
        untold = self.of.untold.of(self.of.names[i])
        unknown = [k for k, at in enumerate(points.tolist()) if tuple(at) in untold]
        return _Json({"points": points.tolist(), "unsure": n_unsure, "unknown": unknown})

    async def untold(self, request):
        names = ["revision", "row", "column", "told"]
        i, found = self._id(request), await _json(request, names)
        await run_in_threadpool(self._of_image, self.of.size, i)
        await run_in_threadpool(self.of.say_untold, i, **found)
        self._touched()
        return _Json({})

    def superpixels(self, request):
        i, n = self._id(request), _natural(request, "n", "600")
        self._of_image(self.of.size, i)
        labels = self.cells(i, n)
        down, across = labels.shape
        headers = {"X-Alseg-Width": str(across), "X-Alseg-Height": str(down)}
        body = labels.astype("<u2").tobytes()
        return Response(body, media_type="application/octet-stream", headers=headers)

    def marks(self, request):
        page = _page_of(request)
        read = functools.partial(self.of.read, page=page)
        mask, revision, is_draft = self._of_image(read, self._id(request))
        headers = {"X-Alseg-Revision": str(revision), "X-Alseg-Draft": str(int(is_draft))}
        return Response(as_pixels(mask), media_type="application/octet-stream", headers=headers)

    async def save(self, request):
        i, revision, pixels = await self._marked(request)
        answer = request.query_params.get("answer")
        found = await run_in_threadpool(
            self.of.save, i, revision, answer, pixels, self.shown.pop(i, None)
        )
        name, checks = self.of.names[i], self.of.checks
        told = {"check": checks.status(name)} if name in checks.entries() else {}
        return _Json({"revision": found, **told})

    async def draft(self, request):
        i, revision, pixels = await self._marked(request)
        await run_in_threadpool(self.of.write_draft, i, revision, pixels, _page_of(request))
        if self.behind is not None:
            self.behind.draws()
        return _Json({"revision": revision})

    async def _marked(self, request):
        i, revision = self._id(request), _natural(request, "revision")
        height, width = self._of_image(self.of.size, i)
        return i, revision, await _body(request, height * width)

    def skip(self, request):
        return _Json({"revision": self.of.skip(self._id(request))})

    async def label(self, request):
        i, found = self._id(request), await _json(request, ["label"])
        await run_in_threadpool(self.of.relabel, i, found["label"])
        return _Json({"label": found["label"]})

    async def log(self, request):
        found = await _json(request, ["id", "seconds", "strokes", "clicks"], ["points", "answer"])
        i = self._known(found.pop("id"))
        await run_in_threadpool(self.of.log, i, **found)
        self._touched()
        return _Json({})

    def _touched(self):
        if self.behind is not None:
            self.behind.touched()
