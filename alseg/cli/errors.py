"""What is said on stderr: what is begun, what goes wrong, in one line each; the exit codes."""

import contextlib
import errno
import os
import sys
from concurrent.futures import BrokenExecutor

PROG = "alseg"

FAILED, BAD_ARGUMENT, BUG, INTERRUPTED, TERMINATED = 1, 2, 70, 130, 143

EXIT_CODES = {
    0: "all went well",
    FAILED: "it failed: a file, a folder, memory, a worker",
    BAD_ARGUMENT: "an argument is wrong on its own",
    BUG: "a bug of alseg, or of code of yours that it was given",
    INTERRUPTED: "interrupted (Ctrl-C, SIGINT)",
    TERMINATED: "terminated (SIGTERM)",
}
"""What each exit code means; `alseg --help` and the documentation say the same."""

_REMEDIES = {
    errno.ENOSPC: "Free some space, then give the same command again.",
    errno.EDQUOT: "Free some space, then give the same command again.",
    errno.EMFILE: "Raise the limit (`ulimit -n`), or lower --n-jobs.",
    errno.ENFILE: "Close other programs, or lower --n-jobs.",
    errno.EROFS: "Name another folder.",
    errno.ENAMETOOLONG: "Rename it.",
}
_LONGEST = 2000  # letters of one error; what stands first and last tells most
_PARENT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "bad allocation",
    "std::bad_alloc",
)


class BadArgument(Exception):
    """An argument that is wrong on its own, whatever the data."""


class Terminated(BaseException):
    """SIGTERM, as an exception: what is half done is cleared up on the way out."""


def one_line(text):
    """Text in one line that changes nothing in a terminal but the letters on it."""
    from alseg.validation import printable

    return printable(" ".join(str(text).split()))


def show(text):
    """Print what a command found, line by line, with names of files in it as they may be shown."""
    from alseg.validation import printable

    print("\n".join(printable(line) for line in str(text).split("\n")))


class _Standing:
    """A line that is on stderr for as long as nothing else is said there."""

    length = 0

    def write(self, text):
        self.length = len(text)
        self._show(text)

    def wipe(self):
        if self.length:
            self._show(f"\r{' ' * self.length}\r")
            self.length = 0

    def _show(self, text):
        with contextlib.suppress(OSError):
            print(text, end="", file=sys.stderr, flush=True)


_standing = _Standing()


@contextlib.contextmanager
def begun(args, text):
    """Say at once what a command begins with, before imports that take seconds.

    The line goes when the block ends or something else is said, as bars do.
    """
    if not args.quiet:
        # Of a usual name without `one_line`, whose imports take time too.
        _standing.write(f"{text if text.isprintable() else one_line(text)} ...")
    try:
        yield
    finally:
        _standing.wipe()


def tell(text):
    """Print a line on stderr."""
    _standing.wipe()
    print(text, file=sys.stderr)


def complain(error, code):
    """Say in one line what went wrong; `code` again, for the exit."""
    text = one_line(error) or type(error).__name__
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    # Where nobody reads it, or the disk that it goes to is full, the code says it.
    with contextlib.suppress(OSError):
        tell(f"{PROG}: error: {text}")
    return code


def show_warning(message, category, filename, lineno, file=None, line=None):
    """A warning as one line, in place of `warnings.showwarning`."""
    with contextlib.suppress(OSError):
        tell(f"{PROG}: warning: {one_line(message)}")


def explain(error, args):
    """What to say about an error that ended a command, and the exit code.

    Parameters
    ----------
    error : BaseException
    args : Namespace
        The arguments of the command.

    Returns
    -------
    text : str
    code : int
    """
    if isinstance(error, BadArgument):
        return error, BAD_ARGUMENT
    if isinstance(error, KeyboardInterrupt):
        return "interrupted. Give the same command again to continue.", INTERRUPTED
    if isinstance(error, Terminated):
        return "terminated. Give the same command again to continue.", TERMINATED
    if _is_lost_worker(error):
        return (
            f"a worker process is gone ({_first_line(error)}). Often the system ends one when "
            "memory runs out: lower --n-jobs. Give the same command again to continue.",
            FAILED,
        )
    if _is_memory(error):
        if _was_raised(error) and "image_size" in str(error):
            return error, FAILED  # it says more already
        return (
            f"memory ran out ({_first_line(error) or 'no more is said'}). Lower --image-size, "
            "--batch-size or --n-jobs, or take fewer images.",
            FAILED,
        )
    if isinstance(error, OSError):
        return _explain_system(error, args), FAILED
    if isinstance(error, (ValueError, ImportError)):
        return error, FAILED
    if isinstance(error, TypeError) and _was_raised(error):
        return error, FAILED
    return (
        f"unexpected {type(error).__name__}: {_first_line(error)} ({_place(error)}). This is a "
        "bug, of alseg or of code of yours that it was given: run it again with "
        "ALSEG_TRACEBACK=1 to see where, and please report it.",
        BUG,
    )


def _explain_system(error, args):
    """An error of the system: with the file, or else the argument whose files were at work."""
    if error.errno is None or not error.strerror:
        return error  # its text is one of ours
    names = [
        os.fsdecode(name)
        for name in (error.filename, error.filename2)
        if isinstance(name, (str, bytes))
    ]
    if str(error).startswith("[Errno"):
        places = ("out", "output", "state", "folder", "data")
        used = next(
            (getattr(args, place, None) for place in places if getattr(args, place, None)), ""
        )
        where = " -> ".join(names) or f"at work on {used}"
        text = f"{where}: {error.strerror[0].lower()}{error.strerror[1:]}."
    else:
        text = str(error)
    return f"{text} {_REMEDIES.get(error.errno, '')}".rstrip()


def _is_lost_worker(error):
    # distributed is imported only where it is used, and cannot be asked for its class here.
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, BrokenExecutor) or bool(names & {"KilledWorker", "CommClosedError"})


def _is_memory(error):
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(part in text for part in _NO_MEMORY)


def _was_raised(error):
    """Whether a `raise` in Python made this error, and so its text is meant for somebody.

    What the interpreter finds wrong ("'NoneType' object is not subscriptable") is a bug.
    """
    import dis

    last = _last(error)
    if last is None:
        return True
    code = last.tb_frame.f_code.co_code
    # From a worker process the text of a traceback comes, and no frame to look at.
    return error.__cause__ is not None or code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def _last(error):
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last


def _place(error):
    last = _last(error)
    if last is None:
        return "nowhere"
    name = last.tb_frame.f_code.co_filename.rpartition(f"{os.sep}site-packages{os.sep}")[2]
    return f"{name.removeprefix(_PARENT)}, line {last.tb_lineno}"


def _first_line(error):
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".")[:300] if lines else ""
