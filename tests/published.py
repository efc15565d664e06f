"""The published results that stand beside the benchmarks, under the same names for the tests."""

import runpy
from pathlib import Path

globals().update(
    {
        name: value
        for name, value in runpy.run_path(
            Path(__file__).parents[1] / "benchmarks" / "published.py"
        ).items()
        if name.isupper()
    }
)
