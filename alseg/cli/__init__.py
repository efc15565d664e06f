"""The command line: experiments on known masks, and annotation of a folder that has none.

Imports of the package's other parts stay inside the commands, so that `alseg --help` does not wait
for torch.
"""

from alseg.cli.main import main

__all__ = [
    "main",
]
