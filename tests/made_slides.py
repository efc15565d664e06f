"""A folder of images of two classes, as somebody has it who begins to annotate."""

from PIL import Image

from alseg.datasets import make_glands


def write_slides(folder, n, size=(24, 32)):
    """Write n images below ``folder/images/<class>``, named by their ids behind an "s".

    Returns
    -------
    Dataset
        Of the same images, with their true masks.
    """
    glands = make_glands(n, image_size=size, random_state=0)
    for name, label, image in zip(glands.ids, glands.labels, glands.images):
        place = folder / "images" / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"s{name}.png")
    return glands
