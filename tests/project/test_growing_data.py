"""A folder that grows, patients in a manifest, and images of five channels, through `ask`."""

import csv
import json

import numpy as np
import tifffile
from PIL import Image

from alseg.datasets import make_glands
from alseg.project import ask, open_project

GLANDS = make_glands(8, image_size=(32, 48), random_state=0)
PATIENTS = "ppppqrss"
OPTIONS = {"estimator": {"encoder": "tiny", "max_epochs": 1}, "strategy": "spread_over_groups"}


def write(root, n, n_masks):
    """The first n images, with a manifest that names their patients."""
    with open(root / "manifest.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "mask", "label", "patient"])
        for i in range(n):
            Image.fromarray(GLANDS.images[i]).save(root / f"i{i}.png")
            mask = f"m{i}.png" if i < n_masks else ""
            if mask:
                Image.fromarray(np.uint8(GLANDS.masks[i] > 0) * 255).save(root / mask)
            rows.writerow([f"i{i}.png", mask, GLANDS.labels[i], PATIENTS[i]])


def asked(state, root=None, n=2, new=False, options=None):
    with open_project(state, root, options) as project:
        return ask(project, n, new=new)["ids"]


def test_patients_of_a_manifest_are_spread_and_new_images_are_seen(tmp_path):
    root, state = tmp_path / "data", tmp_path / "state"
    root.mkdir()
    write(root, 6, n_masks=2)  # two of p are known
    assert sorted(asked(state, root, options=OPTIONS)) == ["i4", "i5"]  # those of q and of r
    write(root, 8, n_masks=2)  # two of s have come
    found = asked(state, n=2, new=True)
    assert len(found) == 2 and found[0] in ("i6", "i7") and found[1] in ("i2", "i3")
    rounds = json.loads((state / "state.json").read_text())["rounds"]
    assert [len(one["ids"]) for one in rounds] == [2, 2]


def test_a_folder_of_five_channels_is_asked_about(tmp_path):
    root = tmp_path / "data"
    for i in range(6):
        bands = np.concatenate([GLANDS.images[i], GLANDS.images[i][..., :2]], -1)
        folder = root / "images" / str(GLANDS.labels[i])
        folder.mkdir(parents=True, exist_ok=True)
        options = {"photometric": "minisblack", "planarconfig": "contig"}
        tifffile.imwrite(folder / f"{i}.tif", bands, **options)
        if i < 3:
            folder = root / "masks" / str(GLANDS.labels[i])
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.uint8(GLANDS.masks[i] > 0) * 255).save(folder / f"{i}.png")
    options = {**OPTIONS, "strategy": "entropy"}
    found = asked(tmp_path / "state", root, options=options)
    assert len(found) == 2 and set(found) <= {"3", "4", "5"}
