"""Run a command: exit codes, and one line for what went wrong."""

import os
import sys
import warnings

from alseg.cli.arguments import make_parser
from alseg.cli.errors import BAD_ARGUMENT, FAILED, INTERRUPTED, BadArgument, complain, show_warning


def main(argv=None):
    """Run a command.

    Parameters
    ----------
    argv : list of str or None, default=None
        Arguments without the program's name; None takes those of the process.

    Returns
    -------
    int
        0 if all went well, 1 if it failed, 2 for a wrong argument; the reason is one line on
        stderr.
    """
    parser = make_parser()
    args = parser.parse_args(argv)
    args.argv = sys.argv[1:] if argv is None else list(argv)
    if args.command is None:
        parser.print_help()
        return 0
    try:
        with _threads(args.threads), warnings.catch_warnings():
            warnings.showwarning = show_warning
            return args.run(args) or 0
    except BadArgument as error:
        return complain(error, BAD_ARGUMENT)
    except KeyboardInterrupt:
        return complain("interrupted. Give the same command again to continue.", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`); there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (ValueError, TypeError, OSError, KeyError) as error:
        if os.environ.get("ALSEG_TRACEBACK"):
            raise
        return complain(error.args[0] if isinstance(error, KeyError) else error, FAILED)


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
