"""`python -m alseg`."""

import sys

from alseg.cli import main

if __name__ == "__main__":
    sys.exit(main())
