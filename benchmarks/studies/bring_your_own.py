"""Four estimators that were brought, and the default, on GlaS under one protocol.

    python -m benchmarks.studies.bring_your_own --dry-run   # the plan, and what it would take
    python -m benchmarks.studies.bring_your_own             # about 25 CPU minutes, resumable
    python -m benchmarks.studies.bring_your_own --only-report

Fold 0 of Belharbi et al. 2021: 67 training and 80 test images, read at 96 x 144. Class-balanced
random questions for all, 8 masks and then 24, three seeds; networks take 120 steps of the default's
batches at the default's rates. All of this was fixed before the first run, nothing was chosen on
the test images, and they are opened by this run alone. Only the default starts from ImageNet's
weights: no others can be had without a download. So its own network from random weights stands
beside it, and what weights are worth is not taken for what a network is.

timm imports torchvision, which does not import beside the CPU build of torch:
`make_torchvision_importable` declares what is missing, here and in the processes that this starts.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from alseg import JointCAMSegmenter, PixelClassifier, Protocol, compare_strategies
from alseg.comparison import Plan, Row, read_comparison
from alseg.datasets import load_glas
from alseg.strategies import random_sampling
from benchmarks.core.data import found_all
from benchmarks.core.parts import shrunk
from benchmarks.core.results import RESULTS, write_comparison
from tests.foreign_packages import make_torchvision_importable

make_torchvision_importable()

SIZE = (96, 144)
PROTOCOL = Protocol(
    initial=8, n_instances=16, rounds=1, control="default", controls=(), references=("all-ones",)
)


def unet():
    """MONAI's residual U-Net, 1.6 million parameters."""
    from monai.networks.nets import UNet

    return UNet(2, 3, 2, channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2), num_res_units=2)


def estimators(device):
    """The rows' estimators, by name."""
    make = partial(JointCAMSegmenter, max_epochs=4, steps_per_epoch=30, image_size=SIZE)
    return {
        "default": make(device=device),
        "default (random weights)": make(encoder_weights=None, device=device),
        "MONAI UNet (random weights)": make(network=unet, device=device),
        "timm resnet10t (random weights)": make(
            encoder="timm/resnet10t", encoder_weights=None, device=device
        ),
        "random forest on filters": PixelClassifier(image_size=SIZE),
    }


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS / "bring-your-own")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--only-report", action="store_true")
    arguments = parser.parse_args(argv)
    folders = found_all("glas")
    if folders is None:
        return 0
    parts = load_glas(folders[0], fold=0)
    data = shrunk(parts.train, SIZE), shrunk(parts.test, SIZE)
    models = estimators(arguments.device)
    rows = {name: Row(random_sampling, estimator=model) for name, model in models.items()}
    seeds, out = range(arguments.seeds), arguments.out.resolve()
    if arguments.dry_run:
        plan = Plan(models["default"], rows, data, PROTOCOL, seeds)
        print(plan.describe(arguments.n_jobs))
        return 0
    if arguments.only_report:
        result = read_comparison(out, data=data)
    else:
        result = compare_strategies(
            models["default"],
            rows,
            data=data,
            protocol=PROTOCOL,
            seeds=seeds,
            out=out,
            n_jobs=arguments.n_jobs,
        )
    write_comparison(result, out, None if arguments.only_report else arguments.device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
