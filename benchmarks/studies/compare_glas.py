"""Eight strategies and their controls on GlaS, six seeds each: does any beat class-balanced random?

    python -m benchmarks.studies.compare_glas --dry-run   # the plan, and what it would take
    python -m benchmarks.studies.compare_glas --n-jobs 2  # about an hour on 2 cores, resumable
    python -m benchmarks.studies.compare_glas --only-report

Fold 0 of Belharbi et al. 2021: 67 training and 80 test images, read at 192 x 288 and trained on at
96 x 144, so that 2 cores finish; the Dice is that of 192 x 288 masks. The protocol (sizes, steps,
family of comparisons, level) was fixed before the first run and nothing was chosen on the test
images. Every fit starts from the same ImageNet weights and takes the same number of gradient steps.
One network for a seed's rows in round 0. Seeds on one split speak about its 80 test images, 79 of
which share a patient with a training image.
"""

import argparse
import sys
from pathlib import Path

from alseg import JointCAMSegmenter, Protocol, compare_strategies
from alseg.comparison import Plan, read_comparison
from alseg.datasets import load_glas
from alseg.strategies import (
    badge_sampling,
    cam_disagreement_sampling,
    core_set_sampling,
    entropy_sampling,
    entropy_score,
    mc_variance_sampling,
    random_sampling,
    stochastic,
    typiclust_sampling,
)
from benchmarks.core.data import found_all
from benchmarks.core.parts import shrunk
from benchmarks.core.results import BATCHES, RESULTS, write_comparison

SIZE, NETWORK_SIZE = (192, 288), (96, 144)
STRATEGIES = {
    "random": random_sampling,
    "entropy": entropy_sampling,
    "entropy, power noise": stochastic(entropy_score),
    "mc variance": mc_variance_sampling,
    "core-set": core_set_sampling,
    "badge": badge_sampling,
    "typiclust": typiclust_sampling,
    "cam disagreement": cam_disagreement_sampling,
}
PROTOCOL = Protocol(initial=8, n_instances=6, rounds=3, class_balanced=True, n_steps=48)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS / "compare-glas")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--only-report", action="store_true")
    arguments = parser.parse_args(argv)
    folders = found_all("glas", "weights")
    if folders is None:
        return 0
    glas, weights = folders
    parts = load_glas(glas, fold=0)
    data = shrunk(parts.train, SIZE), shrunk(parts.test, SIZE)
    estimator = JointCAMSegmenter(
        encoder="mobilenet_v2",
        encoder_weights=weights / "mobilenet_v2_imagenet.safetensors",
        image_size=NETWORK_SIZE,
        device=arguments.device,
        **BATCHES,
    )
    seeds, out = range(arguments.seeds), arguments.out.resolve()
    if arguments.dry_run:
        print(Plan(estimator, STRATEGIES, data, PROTOCOL, seeds).describe(arguments.n_jobs))
        return 0
    if arguments.only_report:
        result = read_comparison(out, data=data)
    else:
        result = compare_strategies(
            estimator,
            STRATEGIES,
            data=data,
            protocol=PROTOCOL,
            seeds=seeds,
            out=out,
            n_jobs=arguments.n_jobs,
        )
    write_comparison(result, out, None if arguments.only_report else "cpu")
    return 0


if __name__ == "__main__":
    sys.exit(main())
