"""Published results, to stand beside ours: Dice in %.

Of Belharbi et al., WACV 2021, arXiv:2010.04889, Table 3: areas of each seed, and the mean of each
round over five seeds. WSL (class labels only) and full supervision are single values. Of Gorriz et
al. 2017, arXiv:1711.09168, the one number that is known. The tables of Wang et al. 2024,
arXiv:2310.14230, are not here.
"""

import numpy as np


def _numbers(text):
    return np.array(text.split(), dtype=float)


N_MASKS = {"GlaS": np.arange(8, 57, 2), "CUB": np.arange(200, 4001, 200)}

CURVES = {
    "GlaS": {
        "random": _numbers(
            "67.14 70.27 71.59 71.44 74.06 75.37 73.76 72.20 74.40 79.22 79.81 82.04 80.44 82.40 "
            "82.26 81.53 81.89 75.22 81.25 82.53 83.12 83.77 85.34 85.66 84.98"
        ),
        "entropy": _numbers(
            "67.26 72.76 70.94 72.61 73.45 75.15 75.32 73.25 76.58 79.89 80.23 79.76 81.32 82.31 "
            "82.34 82.29 83.11 79.25 81.26 83.64 83.67 83.61 85.36 84.88 85.28"
        ),
        "mc_dropout": _numbers(
            "70.02 68.45 69.70 69.97 72.71 73.00 74.06 72.57 76.39 78.99 78.76 80.50 79.76 80.06 "
            "82.19 81.77 82.24 78.55 80.58 81.18 81.86 82.77 83.48 83.82 83.45"
        ),
        "label_prop": _numbers(
            "67.20 71.03 74.08 76.53 77.64 78.41 79.11 80.16 80.43 81.61 82.90 82.77 83.82 83.97 "
            "83.97 84.10 84.83 84.39 85.19 83.89 84.63 84.97 85.31 85.39 85.55"
        ),
    },
    "CUB": {
        "random": _numbers(
            "52.95 56.86 61.39 62.98 63.56 66.99 66.48 68.78 66.31 68.80 69.42 71.31 72.04 73.22 "
            "72.17 73.78 72.62 72.37 72.74 73.01"
        ),
        "entropy": _numbers(
            "54.05 57.38 59.11 60.48 63.82 63.59 67.07 68.81 67.29 69.79 69.98 72.11 70.46 71.96 "
            "73.11 74.59 73.64 74.27 75.00 74.47"
        ),
        "mc_dropout": _numbers(
            "54.68 57.13 59.98 63.52 63.03 64.68 64.41 67.03 68.89 68.31 69.09 69.06 70.94 70.78 "
            "72.06 73.25 72.29 74.20 73.05 74.23"
        ),
        "label_prop": _numbers(
            "59.07 62.59 66.33 67.02 69.40 68.28 70.71 72.11 71.73 74.12 74.96 73.15 74.10 74.49 "
            "74.06 74.59 74.87 77.25 75.92 75.37"
        ),
    },
}

AREAS = {
    "GlaS": {
        "random": _numbers("78.12 77.32 78.40 78.88 80.12"),
        "entropy": _numbers("78.86 79.27 78.82 79.20 79.53"),
        "mc_dropout": _numbers("78.51 77.16 77.77 78.41 77.76"),
        "label_prop": _numbers("82.28 79.49 81.56 81.84 82.22"),
    },
    "CUB": {
        "random": _numbers("67.14 68.86 67.97 68.67 68.09"),
        "entropy": _numbers("68.55 68.29 68.34 68.37 67.70"),
        "mc_dropout": _numbers("67.32 67.75 67.91 67.45 68.04"),
        "label_prop": _numbers("72.11 71.18 72.47 72.20 70.70"),
    },
}

MEAN_AREAS = {
    "GlaS": {"random": 78.57, "entropy": 79.13, "mc_dropout": 77.92, "label_prop": 81.48},
    "CUB": {"random": 68.15, "entropy": 68.25, "mc_dropout": 67.69, "label_prop": 71.73},
}
AREA_SPREADS = {
    "GlaS": {"random": 0.93, "entropy": 0.26, "mc_dropout": 0.49, "label_prop": 1.03},
    "CUB": {"random": 0.61, "entropy": 0.29, "mc_dropout": 0.27, "label_prop": 0.67},
}
AREAS_OF_FIRST_TEN = {
    "GlaS": {"random": 72.92, "entropy": 73.74, "mc_dropout": 72.37, "label_prop": 76.86},
    "CUB": {"random": 63.80, "entropy": 63.28, "mc_dropout": 63.35, "label_prop": 68.31},
}

FULL_SUPERVISION = {
    "GlaS": _numbers("86.07 86.33 87.00 86.63 86.61"),
    "CUB": _numbers("76.96 76.82 73.37 73.75 75.56"),
}
WEAK_LABELS_ONLY = {
    "GlaS": _numbers("66.39 66.59 66.41 66.11 66.68"),
    "CUB": _numbers("39.04 39.35 39.06 39.52 39.14"),
}

# Dice of pseudo-labelled training images against their true masks, read from a plot, by masks.
PSEUDO_LABEL_DICE = {
    "GlaS": {8: 67, 10: 72, 12: 75.5, 14: 78.3, 16: 79.3, 26: 84, 36: 86, 46: 87, 56: 89},
    "CUB": {200: 59, 400: 62.5, 600: 66.3, 1000: 69.2, 1600: 72.2, 2000: 74, 3600: 77, 4000: 75.6},
}

# Masks with which the mean of a round first reaches 95 % of full supervision.
MASKS_TO_REACH_95 = {
    "GlaS": {"label_prop": 28, "random": 34, "entropy": 34, "mc_dropout": 40},
    "CUB": {"label_prop": 1600, "entropy": 2400, "random": 2600, "mc_dropout": 3000},
}

# A mask of ones everywhere, on the 80 test images of GlaS: a fact of the data.
ALL_ONES = {"GlaS": 66.02}

# Dice and the iteration it was reached in; neither other iterations nor rows are known.
CEAL = {"dice": 74.0, "iteration": 9}
