"""Objects of predicted masks: where their ids go, and the tables of what was counted."""

from pathlib import PurePosixPath

import numpy as np

from alseg.files import csv_text
from alseg.project.state_file import ProjectError

FOLDER, OBJECTS, COUNTS = "objects", "objects.csv", "counts.csv"
"""The folder of ids, a table of a row an object, and one of a row an image and class."""

SUFFIXES = (".png", ".tif")
"""How a file of ids may end: see `id_bytes`."""


def id_files(targets):
    """Where ids go, by the name of the image: paths without suffix, with ``/``.

    Parameters
    ----------
    targets : dict of str to str
        Where masks go.

    Returns
    -------
    stems : dict of str to str

    Raises
    ------
    ProjectError
        If a mask and ids would be one file.
    """
    stems = {name: f"{FOLDER}/{PurePosixPath(t).with_suffix('')}" for name, t in targets.items()}
    taken = {str(PurePosixPath(target).with_suffix("")): name for name, target in targets.items()}
    for name, stem in stems.items():
        if stem in taken:
            raise ProjectError(
                f"The mask of {taken[stem]!r} and the objects of {name!r} would be one file. "
                f"Rename the folder {FOLDER!r}."
            )
    return stems


def objects_of(ids, mask, n_mask_classes, min_area=0):
    """What is told of each object of an image.

    Parameters
    ----------
    ids : ndarray of shape (H, W), int
        0 is background, objects are 1, 2, ...
    mask : ndarray of shape (H, W), int
        The class of each pixel.
    n_mask_classes : int
    min_area : int, default=0
        Objects of fewer pixels are left out.

    Returns
    -------
    ids : ndarray of shape (H, W), int32
        Those left are 1, 2, ..., in the order in which they were.
    rows : list of list
        Of each its id, class (that of most of its pixels), area in pixels, x and y of its centre,
        and left, top, width and height of its box.

    Examples
    --------
    >>> ids = np.array([[1, 0, 4, 4], [0, 0, 4, 4]])
    >>> objects_of(ids, np.minimum(ids, 1), 2, min_area=2)
    (array([[0, 0, 1, 1],
           [0, 0, 1, 1]], dtype=int32), [[1, 1, 4, 2.5, 0.5, 2, 0, 2, 2]])
    """
    from scipy import ndimage

    areas = np.bincount(ids.ravel())
    left = areas >= max(min_area, 1)
    left[0] = False
    ids = np.where(left, np.cumsum(left), 0)[ids].astype(np.int32)
    n, areas = int(left.sum()), areas[left]
    held = np.bincount((ids * n_mask_classes + mask).ravel(), minlength=(n + 1) * n_mask_classes)
    classes = held.reshape(n + 1, n_mask_classes)[1:, 1:].argmax(axis=1) + 1
    rows = []
    for k, (rows_of, columns) in enumerate(ndimage.find_objects(ids), 1):
        ys, xs = np.nonzero(ids[rows_of, columns] == k)
        top, left_of = rows_of.start, columns.start
        size = columns.stop - left_of, rows_of.stop - top
        centre = round(left_of + xs.mean(), 2), round(top + ys.mean(), 2)
        rows.append([k, classes[k - 1], areas[k - 1], *centre, left_of, top, *size])
    return ids, [[value if type(value) is int else value.item() for value in row] for row in rows]


def object_tables(rows, class_names):
    """Two tables of all images that have objects, as the text of CSV files.

    Parameters
    ----------
    rows : dict of str to (rows, n_pixels)
        By the name of the image: as of `objects_of`, and how large it is.
    class_names : list of str

    Returns
    -------
    tables : dict of str to str
        By the name of the file; none where no image has objects.
    """
    if not rows:
        return {}
    header = ["image", "id", "class", "area", "x", "y", "left", "top", "width", "height"]
    objects, counts = [], []
    for image, (found, n_pixels) in rows.items():
        objects += [[image, k, class_names[value - 1], *rest] for k, value, *rest in found]
        for value, name in enumerate(class_names, 1):
            areas = np.array([row[2] for row in found if row[1] == value], dtype=int)
            of_all = [f"{f(areas):.1f}" if len(areas) else "" for f in (np.mean, np.median)]
            share = f"{areas.sum() / n_pixels:.6f}"
            counts.append([image, name, len(areas), int(areas.sum()), share, *of_all])
    of_image = ["image", "class", "objects", "area", "share", "mean_area", "median_area"]
    return {OBJECTS: csv_text(header, objects), COUNTS: csv_text(of_image, counts)}
