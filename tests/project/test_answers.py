"""alseg.project.answers: shares, agreement and warnings of masks, worked by hand."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg.labels import MISSING
from alseg.project.answers import look_at_mask


def mask(text):
    return np.array([[{"?": MISSING}.get(c, c) for c in row] for row in text.split()], dtype=int)


SQUARE = mask("00000 01110 01110 00000")  # 6 of 20


def test_line_and_shares_by_hand():
    answer = look_at_mask(SQUARE)
    assert answer.line() == "foreground 30 %" and answer.agreement is None
    assert answer.shares == {"foreground": 0.3} and answer.foreground == 0.3
    proposal = mask("00000 00110 01111 00000")
    answer = look_at_mask(SQUARE, proposal)
    assert answer.agreement == pytest.approx(2 * 5 / 12)
    assert answer.line() == "foreground 30 %, agrees 0.83 with what was proposed"
    assert answer.warnings == ()


def test_several_classes_and_their_names():
    given, proposal = mask("0012 0011"), mask("0011 0011")
    answer = look_at_mask(given, proposal, n_mask_classes=4, class_names=["gland", "lumen", "fat"])
    # gland: 2 * 3 / (3 + 4); lumen: 0; fat is in neither
    assert answer.agreement == pytest.approx((6 / 7 + 0) / 2)
    assert answer.line() == ("gland 38 %, lumen 12 %, fat 0 %, agrees 0.43 with what was proposed")
    assert list(look_at_mask(given, n_mask_classes=3).shares) == ["class 1", "class 2"]
    with_background = look_at_mask(SQUARE, class_names=["background", "gland"])
    assert list(with_background.shares) == ["gland"]


def test_many_classes_are_counted_as_few_are(rng):
    given, proposal = rng.integers(-1, 4, (2, 30, 40))
    proposal = np.maximum(proposal, 0)
    few, many = (look_at_mask(given, proposal, n_mask_classes=n) for n in (4, 40))
    assert list(many.shares.values()) == [*few.shares.values(), *[0.0] * 36]
    assert dataclasses.replace(many, shares=few.shares) == few


def test_what_is_not_annotated_does_not_count():
    part = mask("?????? 0?1?00 ??????")
    answer = look_at_mask(part, mask("111111 111111 111111"))
    assert answer.foreground == 0.25 and answer.annotated == pytest.approx(4 / 18)
    assert answer.agreement == pytest.approx(2 * 1 / (1 + 4))
    assert answer.line().startswith("foreground 25 % of the annotated 22 %, agrees 0.40")


def test_small_shares_are_not_nothing():
    one = np.zeros((20, 20), int)
    one[0, 0] = 1
    assert look_at_mask(one).line() == "foreground 0.2 %"
    assert look_at_mask(1 - one).line() == "foreground 99.8 %"


def test_empty_full_and_untouched():
    empty, full = np.zeros((4, 5), int), np.ones((4, 5), int)
    assert look_at_mask(empty, SQUARE).warnings == ("is empty: it holds nothing but background",)
    assert look_at_mask(full, SQUARE).warnings == ("is full: it holds no background",)
    assert look_at_mask(SQUARE, SQUARE).warnings == ("is what was proposed, unchanged",)
    assert look_at_mask(empty, empty).warnings == (
        "is empty: it holds nothing but background",
        "is what was proposed, unchanged",
    )
    assert look_at_mask(empty, empty).agreement == 1
    # a few pixels of one class, agreeing with what was proposed, are an answer
    assert look_at_mask(mask("0? ??"), mask("00 00")).warnings == ()


def test_inverted_against_the_proposal():
    opposite = "looks inverted: it says the opposite of what was proposed"
    assert look_at_mask(1 - SQUARE, SQUARE).warnings == (opposite,)
    # a proposal that is far too large around it is no opposite
    large = mask("11111 11111 11111 10000")
    assert look_at_mask(SQUARE, large).warnings == ()
    # nor is one that says nothing
    assert look_at_mask(1 - SQUARE, np.zeros((4, 5), int)).warnings == ()


def test_inverted_against_the_others():
    turned = 1 - SQUARE  # 70 %
    assert look_at_mask(turned, other_shares=[0.2, 0.25, 0.3]).warnings == (
        "looks inverted: foreground 70 %, 25 % in the others",
    )
    assert look_at_mask(SQUARE, other_shares=[0.8, 0.75, 0.9]).warnings == (
        "looks inverted: foreground 30 %, 80 % in the others",
    )
    for shares in ([0.2, 0.25], [0.45, 0.5, 0.55], [0.6, 0.7, 0.8], [0.2, 0.9, 0.95]):
        assert look_at_mask(turned, other_shares=shares).warnings == ()
    # it agrees with the proposal: this image is another
    near = mask("11111 10001 10000 11111")
    assert look_at_mask(turned, near, [0.2, 0.25, 0.3]).warnings == ()


def test_the_same_file_twice():
    first = look_at_mask(SQUARE)
    again = look_at_mask(SQUARE.astype(np.uint8), others={first.digest: "a.png"})
    assert again.warnings == ("is the same as that of a.png",)
    assert look_at_mask(SQUARE[::-1].copy(), others={first.digest: "a.png"}).warnings == (
        ("is the same as that of a.png",)  # it is symmetric
    )
    assert (
        look_at_mask(
            SQUARE[:, ::-1] * 0 + mask("00000 11100 11100 00000"), others={first.digest: "a.png"}
        ).warnings
        == ()
    )
    empty = np.zeros((4, 5), int)  # two images without an object have the same mask
    others = {look_at_mask(empty).digest: "b.png"}
    assert look_at_mask(empty, others=others).warnings == (
        "is empty: it holds nothing but background",
    )


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.floats(0.05, 0.25))
def test_exactly_the_inverted_one_is_warned_of(seed, share):
    rng = np.random.default_rng(seed)
    good = (rng.random((24, 24)) < share).astype(int)
    good[0, 0], good[0, 1] = 0, 1
    proposal = np.where(rng.random(good.shape) < 0.1, 1 - good, good)
    shares = rng.uniform(share - 0.04, share + 0.04, 5)
    assert look_at_mask(good, proposal, shares).warnings == ()
    assert look_at_mask(good, None, shares).warnings == ()
    for shown in (proposal, None):
        warnings = look_at_mask(1 - good, shown, shares).warnings
        assert len(warnings) == 1 and warnings[0].startswith("looks inverted")


def test_bad_arguments():
    for wrong, match in [
        (np.zeros((2, 2, 2), int), r"mask must be whole numbers of shape \(H, W\)"),
        (np.zeros((2, 2)), "mask must be whole numbers"),
        (np.full((2, 2), 2), r"mask must be of classes in \[0, 1\], or -1 .*got \[2\]"),
        (np.full((2, 2), MISSING), "mask must be annotated in at least one pixel"),
    ]:
        with pytest.raises(ValueError, match=match):
            look_at_mask(wrong)
    with pytest.raises(ValueError, match=r"proposal must be of the mask's size \(4, 5\)"):
        look_at_mask(SQUARE, np.zeros((5, 4), int))
    for names in (["a", "b", "c"], [], ["a", "a", "a"]):
        with pytest.raises(ValueError, match="class_names must be 1 different names"):
            look_at_mask(SQUARE, class_names=names)


@pytest.mark.parametrize(
    "kind", [bool, np.uint8, np.int8, np.uint16, np.int32, np.int64, np.uint64]
)
def test_the_type_of_whole_numbers_does_not_matter(kind):
    assert look_at_mask(SQUARE.astype(kind), SQUARE) == look_at_mask(
        SQUARE.astype(np.int16), SQUARE
    )
    if kind is not bool:
        with pytest.raises(
            ValueError, match=r"mask must be of classes in \[0, 1\], .* got \[2, 3\]"
        ):
            look_at_mask(SQUARE.astype(kind) + np.array([[2]], kind))


def test_below_missing_is_no_class():
    with pytest.raises(ValueError, match=r"got \[-3, -2\]"):
        look_at_mask(-SQUARE.astype(np.int16) - 2)
