"""Where results lie, and how a record is written: command, versions, machine, rows."""

import json
import os
import sys
from pathlib import Path

from alseg.experiment import RECORDS_FILE, environment, read_records
from alseg.files import write_text
from alseg.report import as_markdown

# Of the fits behind the recorded results, made before the defaults were halved.
BATCHES = {"batch_size": 8, "weak_batch_size": 4}
RESULTS = Path(__file__).parents[1] / "results"


def script_command():
    """The words that start the script that is running: python -m benchmarks.studies.glas.

    Returns
    -------
    list of str
    """
    script = Path(sys.argv[0])
    return ["python", "-m", f"benchmarks.{script.parent.name}.{script.stem}"]


def records_so_far(folder):
    """The records of a folder; none where no run has begun in it."""
    return read_records(folder) if (folder / RECORDS_FILE).is_file() else []


def write_curves(result, path):
    """Draw the learning curves of a comparison of several rounds, from its records alone.

    Parameters
    ----------
    result : alseg.comparison.Comparison
    path : str or Path
        Of the PNG file.
    """
    if result.chains and any(x.shape[1] > 1 for x, _ in result.curves("dice").values()):
        result.plot().figure.savefig(path, dpi=110)


def write_comparison(result, out, device):
    """Write and print the table and verdict of a comparison, and draw its curves.

    Parameters
    ----------
    result : alseg.comparison.Comparison
    out : Path
        Its folder.
    device : str or None
        Where it was run. None leaves the origin alone: tables may be made elsewhere.
    """
    write_curves(result, out / "curves.png")
    table, verdict = as_markdown(result.table()), str(result.verdict())
    write_text(out / "table.md", table + "\n")
    write_text(out / "verdict.txt", verdict + "\n")
    if device is not None:
        where = {"command": " ".join(script_command()), "environment": environment(device)}
        write_text(out / "environment.json", json.dumps(where, indent=1) + "\n")
    print(table, verdict, sep="\n")


def write_record(path, rows, device="cpu", **more):
    """Write rows, command, versions and machine as JSON.

    Returns
    -------
    int
        The exit status: 1 if a row of a limit does not meet it.
    """
    record = {
        "command": " ".join([*script_command(), *sys.argv[1:]]),
        "environment": {
            **environment(device),
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY"),
        },
        **more,
        "rows": rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(record, indent=1) + "\n")
    return int(not all(row.get("met", True) for row in rows))
