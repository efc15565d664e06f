"""Run a command: exit codes, and one line for what went wrong."""

import contextlib
import os
import signal
import sys
import threading
import warnings
from contextlib import contextmanager, nullcontext

from alseg.cli.errors import FAILED, Terminated, complain, explain, show_warning
from alseg.cli.parser import make_parser


def main(argv=None):
    """Run a command.

    Parameters
    ----------
    argv : list of str or None, default=None
        Arguments without the program's name; None takes those of the process.

    Returns
    -------
    int
        0 if all went well, 1 if it failed, 2 for a wrong argument, 70 for a bug, 130 if it was
        interrupted, 143 if it was terminated; the reason is one line on stderr. With
        ALSEG_TRACEBACK in the environment errors are raised instead.
    """
    args = None
    try:
        with _own_process() if argv is None else nullcontext():
            parser = make_parser()
            try:
                args = parser.parse_args(argv)
            except SystemExit as end:  # after --help, --version, or what argparse says is wrong
                raise SystemExit(_written(end.code)) from None
            args.argv = sys.argv[1:] if argv is None else list(argv)
            if args.command is None:
                parser.print_help()
                return _written(0)
            with _threads(args.threads), warnings.catch_warnings():
                warnings.showwarning = show_warning
                return _written(args.run(args) or 0)
    except _OutputLost as lost:
        _silence(sys.stdout)
        if isinstance(lost.error, BrokenPipeError):
            return FAILED  # whoever read our output has gone (`| head`); there is nobody to tell
        return complain(f"standard output: {lost.error.strerror or lost.error}.", FAILED)
    except BrokenPipeError:
        _silence(sys.stdout)
        return FAILED
    except (Exception, KeyboardInterrupt, Terminated) as error:
        if os.environ.get("ALSEG_TRACEBACK"):
            raise
        return complain(*explain(error, args))


class _OutputLost(Exception):
    """What was printed could not be written."""

    def __init__(self, error):
        self.error = error


def _written(code):
    """`code`, after all that was printed has gone out: at exit it would be too late to say so."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        raise _OutputLost(error) from None
    return code


def _silence(stream):
    """Let what is still in a stream's buffer, and cannot be written, go nowhere."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # not a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def _own_process():
    """What a command may change only where the process is its own."""
    # Read when torch is loaded. Threads that spin long while they wait were ten times slower than
    # one where a neighbour kept the machine busy; without any spinning they gain nothing on an idle
    # one.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # letters that its encoding lacks become escapes
            stream.reconfigure(errors="backslashreplace")

    def terminate(number, frame):
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _threads:
    """Set torch's threads for a command and give them back: `main` may be called in a program."""

    def __init__(self, n):
        self.n = n

    def __enter__(self):
        if self.n is not None:
            import torch

            self.before = torch.get_num_threads()
            torch.set_num_threads(self.n)

    def __exit__(self, *error):
        if self.n is not None:
            import torch

            torch.set_num_threads(self.before)
