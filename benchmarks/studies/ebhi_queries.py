"""Where a query could pay: EBHI-Seg, six classes from 22 to 431 images, many images of one case.

    python -m benchmarks.studies.ebhi_queries --dry-run    # the plan, its power, what it would take
    python -m benchmarks.studies.ebhi_queries              # about two CPU hours, resumable
    python -m benchmarks.studies.ebhi_queries --only-report
    python -m benchmarks.studies.ebhi_queries --borders    # the doubt of borders, a model of them

GlaS has two classes and hardly a redundant image: there no strategy could be told from
class-balanced random. Here the pool is redundant (six images of a case) and its classes are of very
different sizes, so that strategies which spread, or which look for what is rare, have a chance.

12 masks, class-balanced at random, then 12 a round up to 96; a seed is one of five folds that tear
no case apart. The encoder (EfficientNet-Lite0, ImageNet weights) is frozen and its maps are kept,
the decoder is trained anew for the same number of steps in every round. Control is class-balanced
random. The family, the metric (Dice of the foreground, its area under the curve) and the number of
seeds were fixed before the first run. `--dry-run` says which differences so many seeds can show.

``--borders`` is a comparison of its own (``ebhi-borders``), since its estimator learns borders of
objects too: random questions, and where the model doubts whether there is a border.
"""

import argparse
import functools
import sys
from pathlib import Path

from alseg import JointCAMSegmenter, Protocol, compare_strategies
from alseg.comparison import Plan, read_comparison
from alseg.datasets import load_folder
from alseg.strategies import (
    class_balanced,
    core_set_sampling,
    entropy_score,
    random_sampling,
    spread_over_groups,
    stochastic,
    typiclust_sampling,
)
from benchmarks.core.data import found_all
from benchmarks.core.results import RESULTS, write_comparison

SIZE = (96, 96)
STRATEGIES = {
    "random": random_sampling,
    "class × case balanced": class_balanced(spread_over_groups(random_sampling)),
    "entropy, power noise": class_balanced(stochastic(entropy_score)),
    "core-set": class_balanced(core_set_sampling),
    "typiclust": class_balanced(typiclust_sampling),
}
BORDERS = {
    "random": random_sampling,
    "border entropy, power noise": class_balanced(
        stochastic(functools.partial(entropy_score, target="border"))
    ),
}
PROTOCOL = Protocol(
    initial=12, n_instances=12, rounds=7, class_balanced=True, n_folds=5, references=(), controls=()
)
STEPS = {"max_epochs": 8, "steps_per_epoch": 5}


def estimator_of(cache, objects=None):
    return JointCAMSegmenter.from_preset(
        "alseg-fast",
        image_size=SIZE,
        objects=objects,
        feature_cache=str(cache),
        weak_batch_size=0,
        device="cpu",
        **STEPS,
    )


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--borders", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--only-report", action="store_true")
    arguments = parser.parse_args(argv)
    strategies = BORDERS if arguments.borders else STRATEGIES
    if arguments.out is None:
        arguments.out = RESULTS / ("ebhi-borders" if arguments.borders else "ebhi-queries")
    folders = found_all("ebhi_seg")
    if folders is None:
        return 0
    data = load_folder(folders[0]).all
    # Beside the records, and not in the repository: a second call has the maps at once.
    objects, seeds = "border" if arguments.borders else None, range(arguments.seeds)
    estimator = estimator_of(arguments.out / "features", objects)
    if arguments.dry_run:
        print(Plan(estimator, strategies, data, PROTOCOL, seeds).describe(arguments.n_jobs))
        return 0
    if arguments.only_report:
        result = read_comparison(arguments.out, data=data)
    else:
        result = compare_strategies(
            estimator,
            strategies,
            data=data,
            protocol=PROTOCOL,
            seeds=seeds,
            out=arguments.out,
            n_jobs=arguments.n_jobs,
        )
    write_comparison(result, arguments.out, None if arguments.only_report else "cpu")
    return 0


if __name__ == "__main__":
    sys.exit(main())
