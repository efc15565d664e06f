"""Serve the page: a socket, a token, a thread or none, and an end that loses nothing."""

import html
import secrets
import socket
import threading
import weakref
from contextlib import ExitStack

from alseg.annotate.behind import Behind
from alseg.annotate.marks import Marks
from alseg.annotate.server import allowed_hosts, make_app
from alseg.project import Project, open_project
from alseg.validation import check_number, message


class Serving:
    """The page of a project, on its way to browsers. See `serve`, which makes it.

    Attributes
    ----------
    url : str
        Where the page is, with the token that it needs.
    """

    def __init__(self, marks, host="127.0.0.1", port=0, behind=None):
        import uvicorn

        token = secrets.token_urlsafe(24)
        self._socket = _listen(host, port)
        port = self._socket.getsockname()[1]
        app = make_app(marks, token, allowed_hosts(host, port), behind=behind)
        config = uvicorn.Config(
            app,
            log_level="error",
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=5,
        )
        self._server, self._thread = uvicorn.Server(config), None
        shown = "127.0.0.1" if host in ("", "0.0.0.0") else host
        self.url = f"http://{shown}:{port}/?token={token}"

    def run(self):
        """Answer requests until the process is interrupted or `stop` is called."""
        self._server.run(sockets=[self._socket])

    def start(self):
        """Answer requests in a thread, until `stop` or the end of the process."""
        self._thread = threading.Thread(target=self.run, name="alseg annotate", daemon=True)
        self._thread.start()

    def stop(self):
        """Answer what is under way, and no more."""
        self._server.should_exit = True
        if self._thread not in (None, threading.current_thread()):  # who collects garbage
            self._thread.join()
        self._socket.close()


def _listen(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OSError(
            f"{host}:{port} cannot be listened to: {reason}. Name another port."
        ) from error


class Served:
    """A page that is served from a thread of this process. `serve` makes it, a notebook shows it.

    It ends with `close`, at the end of a ``with`` block, when nobody holds it any more, and with
    the process. What was saved stays; `serve` may be called again.

    Attributes
    ----------
    url : str
        Where the page is, with the token that it needs.
    name : str
        Of the images' folder.
    """

    def __init__(self, url, name, end):
        self.url, self.name = url, name
        self._end = weakref.finalize(self, end)

    @property
    def closed(self):
        """Whether it has ended."""
        return not self._end.alive

    def close(self):
        """End it; again does nothing."""
        self._end()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def __repr__(self):
        return f"<page of {self.name}: {'closed' if self.closed else self.url}>"

    def _repr_html_(self):
        # A link and no frame: a page that others may frame can be made to be clicked unseen.
        name = html.escape(self.name)
        if self.closed:
            return f"The page of {name} is closed."
        url = html.escape(self.url)
        return f'<a href="{url}" target="_blank" rel="noopener">Annotate {name} in the browser</a>'


def serve(
    state,
    data=None,
    options=None,
    host="127.0.0.1",
    port=0,
    block=True,
    ready=None,
    train=True,
    target=None,
    regions=False,
):
    """Serve a page in which somebody marks the images of a folder.

    What is marked is kept in the state folder at once, as `alseg add` does, and `alseg query` and
    `alseg predict` go on from it. Behind it a process of low priority learns from the marks, once
    there are some, and proposes; it ends with the page.

    Parameters
    ----------
    state : Project, str or Path
        A state folder, or an open project.
    data, options : see `alseg.project.open_project`
        To start a state folder.
    host : str, default="127.0.0.1"
        With another one whoever has the token can mark from elsewhere, over a connection that
        anybody on the way can read.
    port : int, default=0
        0 takes one that is free.
    block : bool, default=True
        Whether to return only when the process is interrupted. False serves from a thread, as a
        notebook needs it.
    ready : callable or None, default=None
        Called with the address of the page once it may be opened.
    train : bool, default=True
        Whether to learn behind the pen. False proposes by the model fitted last.
    target : float or None, default=None
        Dice that is enough, in (0, 1]: once the whole interval of the checks is above it, the page
        says that you may stop.
    regions : bool, default=False
        Ask about a ninth of an image at a time, which alone takes marks: the one that the model is
        least sure of, or one at random.

    Returns
    -------
    served : Served or None
        Where `block` is False: its ``url``, and ``close()``, which ends it; a context manager, and
        a link in a notebook. Keep it: it ends when nobody holds it.

    Raises
    ------
    FolderInUse
        If another command is at work in the folder, such as a second server.
    OSError
        If the port is taken.

    Examples
    --------
    >>> import tempfile, urllib.request
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as place:
    ...     images = Path(place, "slides", "images", "benign")
    ...     images.mkdir(parents=True)
    ...     Image.new("RGB", (32, 24)).save(images / "a.png")
    ...     with serve(Path(place, "state"), Path(place, "slides"), block=False) as served:
    ...         address = served.url.replace("/?token=", "/api/next token ").split(" token ")
    ...         request = urllib.request.Request(address[0], headers={"X-Alseg-Token": address[1]})
    ...         print(urllib.request.urlopen(request).read().decode()[:40])
    {"id": 0, "name": "a", "label": "benign"
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 65536:
        raise ValueError(message("port", "an integer in [0, 65535]", port))
    if target is not None:
        check_number("target", target, 0, 1, open_low=True)
    with ExitStack() as stack:
        project = state
        if not isinstance(state, Project):
            project = stack.enter_context(open_project(state, data, options))
        if project.mask_kind != "classes":
            remedy = "A page marks classes: draw ids elsewhere, then alseg add."
            raise ValueError(message("mask_kind", "'classes'", project.mask_kind, remedy))
        marks = Marks(project, regions)
        stack.callback(marks.close)
        marks.quality.target = target
        behind = None
        if train:
            told = marks.quality.record, marks.headers.note_broken
            behind = Behind(project, marks.checks.held_out, *told)
            stack.callback(behind.close)
            marks.changed, marks.scores = behind.changed, behind.scores
        serving = Serving(marks, host, port, behind)
        stack.callback(serving.stop)
        if ready is not None:
            ready(serving.url)
        if block:
            serving.run()
            return None
        serving.start()
        return Served(serving.url, project.data.name, stack.pop_all().close)
