"""What goes wrong, in one line on stderr, and the exit codes."""

import sys


PROG = "alseg"


BAD_ARGUMENT, FAILED, INTERRUPTED = 2, 1, 130


class BadArgument(Exception):
    """An argument that is wrong on its own, whatever the data."""


def complain(error, code):
    """Say in one line what went wrong; `code` again, for the exit."""
    text = " ".join(str(error).split()) or type(error).__name__
    print(f"{PROG}: error: {text}", file=sys.stderr)
    return code


def show_warning(message, category, filename, lineno, file=None, line=None):
    """A warning as one line, in place of `warnings.showwarning`."""
    print(f"{PROG}: warning: {' '.join(str(message).split())}", file=sys.stderr)
