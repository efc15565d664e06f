"""A comparison with records made up, for tests of what is shown of it."""

import numpy as np

from alseg.comparison.result import Comparison
from alseg.datasets import make_glands
from alseg.experiment.protocol import Protocol

REFERENCES = {"full supervision": 0.84, "weak labels only": 0.41, "all-ones": 0.62}


def made_comparison(
    names=("random", "entropy", "core-set", "mine"),
    n_seeds=3,
    n_rounds=4,
    references=True,
    missing=(),
    pictures=False,
    n_test=6,
    validation=0,
    parts=(),
    random_state=0,
):
    """Rows that differ by 2 per cent each, with noise of a per cent or so.

    `missing` are (name, seed, round) from which on a chain has no records, `parts` the rows whose
    masks and pixels are a tenth of the others'.
    """
    rng = np.random.default_rng(random_state)
    protocol = Protocol(initial=4, n_instances=2, rounds=n_rounds - 1, control=names[0])
    glands = make_glands(24, image_size=(32, 48), random_state=0) if pictures else None
    cut = {(name, seed): round_ for name, seed, round_ in missing}
    chains = {}
    for seed in range(n_seeds):
        start = 0.55 + 0.03 * rng.standard_normal()
        images = rng.uniform(-0.1, 0.1, n_test)
        for k, name in enumerate(names):
            chain, cost = [], np.zeros(4)
            for round_ in range(cut.get((name, seed), n_rounds)):
                rise = 1 - np.exp(-0.45 * round_)
                dice = start + (0.2 + 0.02 * k) * rise
                dice += 0.012 * rng.standard_normal() if round_ else 0
                size = 0.1 if name in parts and round_ else 1.0
                n = 4 if round_ == 0 else 2
                cost = cost + n * size * np.array([1 / size, 1536, 60 + 25 * k, 60 + 25 * k])
                ids = [(7 * k * (round_ > 0) + 2 * round_ + i) % 20 for i in range(n)]
                per_image = np.clip(dice + images, 0, 1).tolist()
                chain.append(
                    {
                        "strategy": name,
                        "seed": seed,
                        "round": round_,
                        "sample_ids": ids,
                        "asked": [
                            {"sample_id": i, "id": f"image {i}", "label": "regular"} for i in ids
                        ],
                        "n_masks": 4 + 2 * round_,
                        "n_masks_validation": validation,
                        "foreground_pixels": int(
                            500 * (4 + 2 * round_) * (1 + 0.1 * k * (round_ > 0))
                        ),
                        "gradient_steps": 120,
                        "cost": dict(zip(("images", "pixels", "clicks", "seconds"), cost.tolist())),
                        "metrics": {
                            "dice": dice,
                            "mean_iou": dice - 0.1,
                            "dice_per_image": [None, *per_image[1:]],
                        },
                        "seconds": {"fit": 30 + rng.uniform(), "evaluate": 2.0}
                        | ({"query": 1.5 * k} if round_ else {}),
                        "memory_mib": {"peak": 850.0, "fit": 850.0 + k, "query": 700.0 + 20 * k},
                        "environment": {
                            "alseg": "0.1",
                            "python": "3.11",
                            "torch": "2.4",
                            "device": "cpu",
                            "torch_threads": 1,
                        },
                    }
                )
            if chain:
                chains[name, seed] = chain
    found = {
        name: [
            {
                "strategy": name,
                "seed": seed,
                "round": 0,
                "n_masks": 20 * (name[0] == "f"),
                "n_masks_validation": 0,
                "foreground_pixels": 10_000 * (name[0] == "f"),
                "metrics": {"dice": dice + 0.01 * rng.standard_normal()},
                "seconds": {"fit": 60.0},
                "memory_mib": {"fit": 900.0},
                "environment": {},
            }
            for seed in range(1 if name == "all-ones" else n_seeds)
        ]
        for name, dice in REFERENCES.items()
    }
    config = {
        "protocol": protocol.to_dict(),
        "rows": {name: {"strategy": {"name": name}} for name in names},
        "data": {
            "name": "made-up glands",
            "n_train": 20,
            "n_test": n_test,
            "train": "a1b2",
            "test": "c3d4",
        },
    }
    train, test = (None, None) if glands is None else (glands.take(range(20)), None)
    return Comparison(
        chains,
        found if references else {},
        protocol,
        names,
        list(names[1:]),
        range(n_seeds),
        config,
        train,
        test,
    )
