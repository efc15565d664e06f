"""Run commands as a stranger does, and hold each to what `docs/user/trust.md` promises.

`attack` is the one way through which this suite runs a command in this process: whatever was made
up for it, the command ends with a documented exit code, a failure is one line that names what is
wrong, no file of the user changes, nothing is written outside `--out`, no network is used, and no
code comes from a folder.
"""

import hashlib
import io
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
EXIT_CODES = {0, 1, 2, 130, 143}  # 70 is a bug of ours, so it is a failure here
HANG = 60  # seconds; guards against hangs and decides nothing else

TINY = [
    "--encoder",
    "tiny",
    "--max-epochs",
    "1",
    "--steps-per-epoch",
    "1",
    "--batch-size",
    "2",
    "--image-size",
    "16",
    "16",
    "--device",
    "cpu",
    "--threads",
    "1",
]
TINY_QUERY = [*TINY, "--quiet"]


class Done(NamedTuple):
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def error(self):
        """The last line of stderr, where a failure says what is wrong."""
        lines = [line for line in re.split(r"[\r\n]", self.err) if line.strip()]
        return lines[-1] if lines else ""


# -- the files of the user ----------------------------------------------------------------------


def fingerprint(path):
    """All that may be seen of a file or folder from outside: content, mode, times, inode."""
    found = os.lstat(path)
    kind = stat.S_IFMT(found.st_mode)
    content = None
    if stat.S_ISREG(kind):
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    elif stat.S_ISLNK(kind):
        content = os.readlink(path)
    return found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns, content


def everything_under(*roots, but=()):
    """Fingerprints by path; what lies under one of `but` is left out."""
    but = tuple(os.fsencode(path) for path in but)
    found, queue = {}, [os.fsencode(root) for root in roots]
    while queue:
        path = queue.pop()
        if path in but:
            continue
        found[path] = fingerprint(path)
        if stat.S_ISDIR(found[path][0]):
            queue.extend(os.path.join(path, name) for name in os.listdir(path))
            if any(os.path.dirname(other) == path for other in but):
                # `--out` may be made here, which touches the folder's time and size
                found[path] = found[path][:2]
    return found


@contextmanager
def untouched(*roots, but=()):
    """Nothing under these roots is changed, made, replaced or removed inside, except in `but`."""
    before = everything_under(*roots, but=but)
    yield
    after = everything_under(*roots, but=but)
    made = sorted(after.keys() - before.keys())
    lost = sorted(before.keys() - after.keys())
    changed = sorted(path for path in before.keys() & after.keys() if before[path] != after[path])
    assert not (made or lost or changed), f"made {made}, lost {lost}, changed {changed}"


# -- what a command does beside its output ------------------------------------------------------

_WRITES = {
    "os.rename": (0, 1),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.mkdir": (0,),
    "os.truncate": (0,),
    "os.link": (1,),
    "os.symlink": (1,),
    "os.chmod": (0,),
    "os.chown": (0,),
    "os.utime": (0,),
    "shutil.rmtree": (0,),
}
_NEVER = (
    "socket.connect",
    "socket.getaddrinfo",
    "socket.sendto",
    "urllib.Request",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.startfile",
    "pickle.find_class",
    "ctypes.dlopen_not_used",
)
_watching = threading.local()
_hooked = []


def _audit(event, args):
    watch = getattr(_watching, "watch", None)
    if watch is None:
        return
    if event == "open":
        path, mode, flags = args
        if isinstance(path, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        watch.append(("write", _whole(path)))
    elif event in _WRITES:
        for position in _WRITES[event]:
            if not isinstance(args[position], int) and args[-1] in (-1, None, args[position]):
                watch.append((event, _whole(args[position])))
    elif event in _NEVER:
        watch.append((event, b"" if event != "pickle.find_class" else repr(args).encode()))
    elif event == "import" and args[1]:
        watch.append(("import", _whole(args[1])))


def _whole(path):
    return os.path.abspath(os.fsencode(path))


@contextmanager
def watched():
    """Collect what this thread writes, connects to, starts and imports, as (event, path)."""
    if not _hooked:
        sys.addaudithook(_audit)  # cannot be taken out again, so it is added once and switched
        _hooked.append(True)
    _watching.watch = found = []
    try:
        yield found
    finally:
        _watching.watch = None


def _harmless(path):
    """Places that libraries write to for themselves: devices, caches, temporary files."""
    import tempfile

    places = [
        b"/dev/",
        b"/proc/",
        os.fsencode(tempfile.gettempdir()) + b"/joblib",
        os.fsencode(tempfile.gettempdir()) + b"/torchinductor",
    ]
    return path.startswith(tuple(places)) or any(
        part in path for part in (b"__pycache__", b"/.config/matplotlib", b"/.cache/matplotlib")
    )


# -- a command ----------------------------------------------------------------------------------


def call(*argv):
    """Run a command in this process."""
    from alseg.cli import main

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(
                [os.fspath(part) if isinstance(part, os.PathLike) else str(part) for part in argv]
            )
        except SystemExit as error:
            code = error.code
    return Done(code, out.getvalue(), err.getvalue())


def check(done, argv, names=()):
    """A command that ended as documented: see the head of this module.

    `names`: one of these texts stands in the error of a failure.
    """
    shown = f"{argv}\n{done}"
    assert done.code in EXIT_CODES, shown
    assert "Traceback" not in done.err and 'File "' not in done.err, shown
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", done.out + done.err), shown
    if done.code in (1, 2):
        assert done.error.startswith("alseg: error: "), shown
        assert len(done.error) < 3000, shown
        text = done.error.removeprefix("alseg: error: ")
        assert not names or any(name in text for name in names), (
            f"{names} not in the error of {shown}"
        )
    elif done.code == 0:
        assert "alseg: error: " not in done.err, shown
    return done


def attack(*argv, user=(), out=(), names=(), codes=None):
    """Run a command in this process and hold it to all promises.

    Parameters
    ----------
    argv : str or Path
        The command.
    user : sequence of Path
        What belongs to the user: never changed.
    out : sequence of Path
        Where the command may write.
    names : sequence of str
        One of them stands in the error if the command fails.
    codes : set of int or None
        Exit codes that are right here; None takes all that are documented.
    """
    with untouched(*user, but=out), watched() as events:
        done = call(*argv)
    check(done, argv, names)
    assert codes is None or done.code in codes, f"{argv}\n{done}"
    allowed = tuple(_whole(path) for path in out)
    for event, path in events:
        if event in _NEVER:
            raise AssertionError(f"{argv}: {event} {path}")
        if event == "import":
            inside = [u for u in user if path.startswith(_whole(u) + b"/")]
            assert not inside, f"{argv} imports {path}"
        elif not path.startswith(tuple(a + b"/" for a in allowed)) and path not in allowed:
            below = any(a.startswith(path + b"/") for a in allowed)  # parents of --out are made
            assert below and event == "os.mkdir" or _harmless(path), f"{argv}: {event} {path}"
    return done


def environment(**more):
    """Of a subprocess: this tree of alseg, one thread, no terminal."""
    here = str(Path(__file__).parents[2])
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    found = {
        **kept,
        "PYTHONPATH": here,
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "MPLBACKEND": "Agg",
        "HOME": os.environ.get("HOME", "/"),
        "LC_ALL": "C.UTF-8",
    }
    found |= more
    return {name: value for name, value in found.items() if value is not None}


def start(*argv, env=None, **options):
    """Start a command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "alseg", *map(os.fspath, argv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=env or environment(),
        **options,
    )


def finish(process, timeout=HANG):
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        raise
    return Done(
        process.returncode,
        out.decode(errors="backslashreplace"),
        err.decode(errors="backslashreplace"),
    )


def run(*argv, env=None, **options):
    """Run a command as a process of its own."""
    return finish(start(*argv, env=env, **options))
