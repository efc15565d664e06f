"""Forecasts of learning curves, back-tested: how often did the interval hold the score that came?

    python -m benchmarks.studies.forecast  # half a minute, one thread, no data needed

From each round on with at least three known, every later round is forecast: on the published mean
curves (Belharbi et al. 2021, four methods on GlaS and on CUB; core/paper_scores.py) and on the
curves of our own runs on GlaS, one a seed (benchmarks/results/glas-cpu/records.jsonl).
"""

import argparse
import json
from pathlib import Path

import numpy as np

from alseg.experiment import backtest
from benchmarks.core.paper_scores import CURVES, N_MASKS
from benchmarks.core.results import RESULTS, write_record
from benchmarks.core.tables import head, line

HORIZONS = (None, 1, 2, 5, 10)


def own_curves(path):
    """(n_masks, curves) of the methods and seeds with four numbers of masks: one row a curve."""
    chains = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        for row in json.loads(text)["rows"]:
            if row["n_masks"]:
                chain = chains.setdefault((row["method"], row["seed"]), {})
                chain[row["n_masks"]] = row["metrics"]["none"]["dice"]
    grid = max(map(sorted, chains.values()), key=len)
    whole = [chain for chain in chains.values() if sorted(chain) == grid]
    return np.array(grid), np.array([[chain[n] for n in grid] for chain in whole])


def backtest_all(confidence):
    sets = {
        f"{data}, published means": (N_MASKS[data], np.stack(list(curves.values())) / 100)
        for data, curves in CURVES.items()
    }
    sets["GlaS, own seeds"] = own_curves(RESULTS / "glas-cpu" / "records.jsonl")
    rows = []
    for name, (n_masks, curves) in sets.items():
        for horizon in HORIZONS:
            if horizon is not None and horizon > len(n_masks) - 3:
                continue
            result = backtest(n_masks, curves, confidence, horizon=horizon)
            rows.append({"curves": name, "n_curves": len(curves), "horizon": horizon})
            rows[-1] |= result._asdict()
            print(json.dumps(rows[-1]), flush=True)
    return rows


def table(rows):
    columns = ["curves", "rounds ahead", "forecasts", "interval holds", "width", "error"]
    lines = head([*columns, "error of the last score", "bias"])
    for row in rows:
        points = [f"{100 * row[k]:.1f}" for k in ("width", "mean_error", "mean_error_of_last")]
        cells = [f"{row['curves']} ({row['n_curves']})", row["horizon"] or "all", row["n"]]
        cells += [f"{100 * row['coverage']:.0f} %", *points, f"{100 * row['bias']:+.1f}"]
        lines.append(line(cells))
    return "\n".join(lines) + "\n"


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--confidence", type=float, default=0.9)
    parser.add_argument("--out", type=Path, default=RESULTS / "forecast.json")
    args = parser.parse_args(argv)
    rows = backtest_all(args.confidence)
    write_record(args.out, rows, confidence=args.confidence)
    args.out.with_suffix(".md").write_text(table(rows), encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
