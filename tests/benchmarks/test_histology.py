"""benchmarks.studies.histology: stains taken apart, maps of the sizes said, the table."""

import numpy as np
import pytest
import torch

from benchmarks.studies import histology

HAEMATOXYLIN, EOSIN = (0.65, 0.70, 0.29), (0.07, 0.99, 0.11)


def test_eosin_comes_first_and_each_stain_is_found(rng):
    eosin, haematoxylin = rng.gamma(2, 0.25, (2, 40, 60))
    haematoxylin[:, :30] *= 0.1
    density = np.multiply.outer(haematoxylin, HAEMATOXYLIN) + np.multiply.outer(eosin, EOSIN)
    found = histology.stains(240 * np.exp(-density) - 1)
    assert found.shape == (40, 60, 3) and found.min() == 0 and found.max() == 1
    for k, amount in enumerate((eosin, haematoxylin, density.mean(2))):
        assert np.corrcoef(found[..., k].ravel(), amount.ravel())[0, 1] > 0.95


def test_hardly_any_tissue_has_the_published_stains():
    image = np.full((20, 20, 3), 255.0)
    for n in (0, 1, 5):
        image[0, :n] = 40, 20, 60
        assert np.isfinite(histology.stains(image)).all()


@pytest.mark.parametrize("beside", [True, False])
def test_maps_are_of_the_channels_and_strides_that_are_said(beside):
    encoder = histology.TissueEncoder(beside, trained=False).eval()
    maps = encoder(torch.rand(2, 3, 96, 128))
    found = [tuple(one.shape[1:]) for one in maps]
    strides = zip(encoder.out_channels, encoder.strides, strict=True)
    assert found == [(channels, 96 // stride, 128 // stride) for channels, stride in strides]


def test_sets_of_a_fold_are_averaged_before_they_are_compared():
    dice = {("lite0", 0): (0.8, 0.7), ("lite0", 1): (0.6, 0.8)}
    dice |= {("both", 0): (0.82, 0.72), ("both", 1): (0.63, 0.81)}
    records = [
        {"row": row, "fold": fold, "set": k, "scores": {"dice": one}}
        for (row, fold), values in dice.items()
        for k, one in enumerate(values)
    ]
    records.append({"row": "alone", "fold": 0, "set": 0, "scores": {"a full mask": 0.5}})
    text = histology.table(records)
    assert "| a full mask | 50.0 |" in text
    assert "| EfficientNet-Lite0 | 2 x 2 | 72.5 |  |  |" in text
    assert "| and the SegResNet at stride 4 | 2 x 2 | 74.5 | +2.0 | +2.0 to +2.0 |" in text
