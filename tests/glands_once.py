"""Synthetic images, made once for all tests that ask for the same ones.

Most tests ask for glands of seed 0 in one of a few sizes; in those of comparisons and runs, making
them anew took as long as a quarter of the training. tests/datasets/test_glands.py makes its own.
"""

import functools

from alseg.datasets import _glands


def make_glands_once():
    """Each image of a seed and a size is made the first time that `make_glands` is to make it."""
    make, made = _glands._make_one, {}

    @functools.wraps(make)
    def once(rng, *of):
        key = (*rng.bit_generator.state["state"].values(), *of)
        if key not in made:
            made[key] = make(rng, *of)
            for array in made[key]:
                array.flags.writeable = False
        return made[key]

    _glands._make_one = once
