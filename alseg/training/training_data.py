"""Images and masks of a fit, each decoded once, held to be drawn from: resized, or cropped."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from alseg.images import as_images, read_pairs
from alseg.labels import MISSING, is_soft
from alseg.training.crops import enlarged, random_corner, reflected, scaled, squares, whole_image
from alseg.training.decoding import decoded, image_tensor
from alseg.training.object_targets import ObjectReader, object_ids, unpacked
from alseg.validation import message

# Largest area of a canvas that is chosen by the images, by the name that `image_size` has for it:
# what two cores train on within a minute, and within some.
AREAS = {None: 128 * 192, "large": 192 * 288}
MAX_AREA = AREAS[None]


def choose_canvas(sizes, max_area=MAX_AREA):
    """The (height, width) that images are brought to when the user names none.

    The median height and width; both scaled down together where they exceed `max_area`, and rounded
    to multiples of 8 then. Small images of one size keep it.

    Examples
    --------
    >>> choose_canvas([(40, 60), (40, 60)]), choose_canvas([(522, 775)])
    ((40, 60), (128, 192))
    """
    h, w = np.median(np.asarray(sizes, dtype=float), axis=0)
    if h * w > max_area:
        factor = np.sqrt(max_area / (h * w))
        return tuple(max(8, int(round(s * factor / 8)) * 8) for s in (h, w))
    return int(h), int(w)


def mask_tensor(mask, canvas, weight=None):
    """An (H, W) int array to an (h, w) int16 tensor: the nearest pixel, unless another counts more.

    Of a mask annotated in part, the nearest pixels would miss most of a few. A place of the canvas
    therefore gets the pixel that counts most of those that fall into it: an annotated one before
    one that is MISSING, an expert's before a pseudo-label; the nearest where they count alike.

    Parameters
    ----------
    mask : ndarray of shape (H, W), int
    canvas : (int, int)
    weight : ndarray of shape (H, W), float, or None
        What each pixel counts; None is 1.

    Returns
    -------
    tensor of shape (h, w), int16; with `weight` also the weights, of shape (h, w), float32
    """
    mask = np.array(mask, dtype=np.int16, copy=True)
    counts = np.ones(mask.shape) if weight is None else np.array(weight, dtype=float)
    counts[mask == MISSING] = 0
    flat, counts = mask.reshape(-1), counts.reshape(-1)
    rows, columns = (
        (2 * np.arange(size) + 1) * n // (2 * size) for n, size in zip(canvas, mask.shape)
    )
    cells = (rows[:, None] * canvas[1] + columns).reshape(-1)  # where each pixel falls
    chosen = torch.arange(mask.size, dtype=torch.float64).reshape(mask.shape)
    chosen = _nearest(chosen, canvas).long().reshape(-1).numpy()  # a pixel for each place
    better = np.flatnonzero(counts > counts[chosen[cells]])
    # In rising order: of several for one place the last, which counts most, stays.
    better = better[np.argsort(counts[better], kind="stable")]
    chosen[cells[better]] = better
    small = torch.from_numpy(flat[chosen].reshape(canvas))
    if weight is None:
        return small
    small_weight = np.asarray(weight, dtype=np.float32).reshape(-1)[chosen]
    return small, torch.from_numpy(small_weight.reshape(canvas))


def soft_tensors(mask, canvas, weight=None):
    """A soft mask at the size of the canvas: means over the area that falls into each place.

    Pixels that are not known, or weigh 0, are left out of the mean; others count by their weight.

    Parameters
    ----------
    mask : ndarray of shape (C, H, W), float
        Probabilities, NaN where not annotated. They are divided by their sum.
    canvas : (int, int)
    weight : ndarray of shape (H, W), float, or None
        What each pixel counts; None is 1.

    Returns
    -------
    proba : tensor of shape (C, h, w), float32
        0 in all classes where nothing is known.
    masks : tensor of shape (h, w), int16
        The likeliest class, MISSING where nothing is known.
    weight : tensor of shape (h, w), float32
        The mean over what is known; only with `weight`.

    Examples
    --------
    >>> mask = np.array([[[0.25, 0.75, np.nan, np.nan]], [[0.75, 0.25, np.nan, np.nan]]])
    >>> proba, masks = soft_tensors(mask, (1, 2))
    >>> proba.tolist(), masks.tolist()
    ([[[0.5, 0.0]], [[0.5, 0.0]]], [[0, -1]])
    """
    proba = torch.from_numpy(np.array(mask, dtype=np.float32))
    known = ~proba.isnan().any(0)
    proba = torch.where(known, proba, 0)
    share = known.float()
    counts = share if weight is None else share * torch.as_tensor(np.asarray(weight)).float()
    proba, total, share = (_means(part, canvas) for part in (proba * counts, counts, share))
    sums = proba.sum(0)
    masks = torch.where(sums > 0, proba.argmax(0).to(torch.int16), MISSING)
    proba = proba / torch.where(sums > 0, sums, 1)
    if weight is None:
        return proba, masks
    return proba, masks, total / torch.where(share > 0, share, 1)


def _means(maps, canvas):
    if tuple(maps.shape[-2:]) == tuple(canvas):
        return maps
    planes = maps[None] if maps.ndim == 3 else maps[None, None]
    return F.interpolate(planes, size=tuple(canvas), mode="area").reshape(*maps.shape[:-2], *canvas)


def _of_pixels(mask_weight, i):
    """The weights of the pixels of image i, or None where it has one for all."""
    return mask_weight[i] if mask_weight is not None and np.ndim(mask_weight[i]) else None


def _sized(mask, canvas, weight):
    """Probabilities of a mask that is soft (else None), classes, and weights where there are."""
    if is_soft(mask):
        parts = soft_tensors(mask, canvas, weight)
    elif weight is None:
        parts = None, mask_tensor(mask, canvas)
    else:
        parts = None, *mask_tensor(mask, canvas, weight)
    return parts if len(parts) == 3 else (*parts, None)


def _objects_of(mask, canvas, weight, reader, scale=1.0):
    """Targets of the objects of a mask, told apart at its own size and measured on the canvas."""
    ids = mask_tensor(object_ids(mask), canvas, weight)
    return reader.maps(ids if weight is None else ids[0], scale)


def _pairs(images, masks, n_mask_classes, show, read, reader):
    """`read_pairs` of a fit; ids are no classes."""
    n_mask_classes = n_mask_classes if reader.mask_kind == "classes" else None
    return read_pairs(images, masks, n_mask_classes, show, read, soft=True)


def _soft_of_all(soft, masks, n_classes):
    """Probabilities of all masks, given by position where these are soft; None where none is."""
    if all(one is None for one in soft.values()):
        return None
    found = (soft.get(i) for i in range(len(masks)))
    return [_one_hot(mask, n_classes) if one is None else one for one, mask in zip(found, masks)]


def _one_hot(masks, n_classes):
    """(C, h, w) float32 of (h, w) classes, 0 in all of them where MISSING."""
    return (masks == torch.arange(n_classes)[:, None, None]).float()


def _nearest(tensor, canvas):
    if tuple(tensor.shape) == tuple(canvas):
        return tensor
    exact = tensor if tensor.dtype == torch.float64 else tensor.float()
    resized = F.interpolate(exact[None, None], size=tuple(canvas), mode="nearest-exact")
    return resized[0, 0].to(tensor.dtype)


def alike(tensors):
    """Images (C, H, W) of one dtype, uint8 or float, and one number of channels.

    Raises
    ------
    ValueError
        If they have differing numbers of channels.

    Examples
    --------
    >>> grey = torch.zeros(3, 1, 1, dtype=torch.uint8)
    >>> [one.dtype for one in alike([grey, grey.float()])]
    [torch.float32, torch.float32]
    """
    counts = [len(one) for one in tensors]
    if len(set(counts)) > 1:
        other = next(i for i, n in enumerate(counts) if n != counts[0])
        shown = f"{counts[0]} in one image, {counts[other]} in another"
        raise ValueError(message("X", "images of one number of channels", shown))
    if any(one.dtype != tensors[0].dtype for one in tensors):
        return [to_unit(one) for one in tensors]
    return tensors


def to_unit(images):
    """uint8 [0, 255] or float [0, 1] to float [0, 1], contiguous strides kept."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


@dataclass
class TrainingData:
    """What a fit trains on, at the size of the network.

    images : tensor of shape (n, C, h, w), uint8 or float
    labels : tensor of shape (n,), int64, MISSING where not known
    masks : tensor of shape (n, h, w), int16, MISSING where not annotated or of weight 0
    weights : tensor of shape (n, 1, 1) or (n, h, w), float32
    top : tensor of shape (n,), float32, or None
        The largest weight of each image's annotated pixels, 0 where there is none; on the CPU
        always, so that nobody waits for a GPU to know it. None computes it.
    soft : tensor of shape (n, C, h, w), float32, or None
        Where a mask is soft, the probabilities of all: 0 and 1 of masks of classes, and 0 in all
        classes where MISSING. `masks` are the likeliest classes then.
    labelled : tensor of shape (n,), bool, or None
        Whether a class of each image is known; on the CPU always, as `top` is. None computes it.
    objects : tensor of shape (n, 2, h, w), uint8, or None
        What is learned of objects, see `alseg.training.ObjectReader`.
    """

    images: torch.Tensor
    labels: torch.Tensor
    masks: torch.Tensor
    weights: torch.Tensor
    top: torch.Tensor | None = None
    soft: torch.Tensor | None = None
    labelled: torch.Tensor | None = None
    objects: Any = None

    def __post_init__(self):
        if self.top is None:
            self.top = top_weights(self.masks, self.weights)
        if self.labelled is None:
            self.labelled = _labelled(self.labels)

    @property
    def size(self):
        """Height and width of the images of a batch."""
        return tuple(self.images.shape[2:])

    @property
    def n_channels(self):
        """Channels of the images."""
        return self.images.shape[1]

    @classmethod
    def build(
        cls, images, labels, masks, mask_weight, canvas, n_mask_classes, show=False, objects=None
    ):
        """Decode every image once; `images` and `masks` as `as_images` and `as_masks` give them.

        `objects` is an `ObjectReader`; None learns nothing of them.
        """
        images = as_images(images)
        n, pixels, soft = len(images), [], {}
        mask_pixels = torch.full((n, *canvas), MISSING, dtype=torch.int16)
        weights = _weight_tensor(mask_weight, n, canvas)
        read = functools.partial(decoded, images, canvas=canvas)
        objects = objects or ObjectReader(None)
        learns = objects.kind is not None
        found = torch.zeros((n, 2, *canvas), dtype=torch.uint8) if learns else None
        pairs = _pairs(images, masks, n_mask_classes, show, read, objects)
        for i, (image, mask) in enumerate(pairs):
            pixels.append(image)
            if mask is None:
                continue
            if learns:
                found[i] = _objects_of(mask, canvas, _of_pixels(mask_weight, i), objects)
            mask = objects.classes(mask)
            soft[i], mask_pixels[i], spread = _sized(mask, canvas, _of_pixels(mask_weight, i))
            if spread is not None:
                weights[i] = spread
        pixels = alike(pixels)
        # A weight of 0 is no annotation: the fit is then the one without that mask, bit for bit.
        mask_pixels = torch.where(weights > 0, mask_pixels, MISSING)
        soft = _soft_of_all(soft, mask_pixels, n_mask_classes)
        return cls(
            torch.stack(pixels),
            torch.as_tensor(labels, dtype=torch.int64),
            mask_pixels,
            weights,
            soft=None if soft is None else torch.stack(soft),
            objects=found,
        )

    def __len__(self):
        return len(self.images)

    def annotated(self):
        """(n,) bool tensor on the CPU: whether the image has an annotated pixel."""
        return self.top > 0

    def weighted(self):
        """Whether an annotated pixel counts anything else than 1."""
        return bool(((self.weights != 1) & (self.masks != MISSING)).any())

    def streams(self):
        """Positions of fully trusted masks, and of all other images, see `split_streams`."""
        return split_streams(self.top)

    def draw(self, positions, generator):
        """The random numbers that `gather` needs: none here, corners for crops."""
        return {}

    def gather(self, positions):
        """Images, masks and weights at positions, a tensor of the same device."""
        return self.images[positions], self.masks[positions], self.weights[positions]

    def gather_soft(self, positions):
        """Probabilities (N, C, h, w) at positions, where a mask is soft; else None."""
        return None if self.soft is None else self.soft[positions]

    def gather_objects(self, positions):
        """What is learned of objects (N, 2, h, w), float, at positions; or None."""
        return None if self.objects is None else unpacked(self.objects[positions])

    def take(self, positions):
        """The same data at these positions alone."""
        parts = vars(self).values()
        return TrainingData(*(None if part is None else part[positions] for part in parts))

    def to(self, device):
        """The same data on another device."""
        parts = self.images, self.labels, self.masks, self.weights
        soft, objects = (None if p is None else p.to(device) for p in (self.soft, self.objects))
        return TrainingData(*(t.to(device) for t in parts), self.top, soft, self.labelled, objects)


@dataclass
class CropData:
    """What a fit trains on by random crops: images of differing sizes, see `alseg.training.crops`.

    images : list of n tensors of shape (C, H, W), uint8 or float
    labels : tensor of shape (n,), int64
    masks : list of n tensors of shape (H, W), int16, MISSING where not annotated or of weight 0
    weights : list of n tensors of shape (1, 1) or (H, W), float32
    crop : dict
    top : tensor of shape (n,), float32, or None
        As of `TrainingData`.
    joined : JoinedImages or None
        On a GPU, what a batch is cut from at once; `images`, `masks` and `weights` are views of it.
    soft : list of n tensors of shape (C, H, W), float32, or None
    labelled : tensor of shape (n,), bool, or None
        As of `TrainingData`.
    objects : list of n tensors of shape (2, H, W), uint8, or None
    """

    images: list
    labels: torch.Tensor
    masks: list
    weights: list
    crop: dict
    top: torch.Tensor | None = None
    joined: Any = None
    soft: list | None = None
    labelled: torch.Tensor | None = None
    objects: Any = None

    def __post_init__(self):
        if self.top is None:
            self.top = top_weights(self.masks, self.weights)
        if self.labelled is None:
            self.labelled = _labelled(self.labels)

    @property
    def size(self):
        """Height and width of the images of a batch."""
        return scaled((self.crop["size"],) * 2, self.crop["scale"])

    @property
    def n_channels(self):
        """Channels of the images."""
        return len(self.images[0])

    @classmethod
    def build(
        cls, images, labels, masks, mask_weight, crop, n_mask_classes, show=False, objects=None
    ):
        """Decode every image once; arguments as of `TrainingData.build`."""
        pixels, mask_pixels, weights, soft, found = [], [], [], {}, []
        objects = objects or ObjectReader(None)
        learns = objects.kind is not None
        pairs = _pairs(images, masks, n_mask_classes, show, None, objects)
        for i, (image, mask) in enumerate(pairs):
            whole = whole_image(image, crop)
            pixels.append(image_tensor(whole, whole.shape[:2]))
            inner = enlarged(image.shape[:2], crop)
            weight = torch.ones(1, 1)
            if learns:
                found.append(torch.zeros((2, *whole.shape[:2]), dtype=torch.uint8))
            if mask is None:
                known = torch.full(whole.shape[:2], MISSING, dtype=torch.int16)
            else:
                of_pixels = _of_pixels(mask_weight, i)
                if learns:
                    maps = _objects_of(mask, inner, of_pixels, objects, crop["scale"])
                    found[i] = _reflected(maps, crop)
                parts = _sized(objects.classes(mask), inner, of_pixels)
                parts = (None if part is None else _reflected(part, crop) for part in parts)
                soft[i], known, spread = parts
                if spread is not None:
                    weight = spread
                elif mask_weight is not None:
                    weight = torch.full((1, 1), float(mask_weight[i]))
            mask_pixels.append(torch.where(weight > 0, known, MISSING))
            weights.append(weight)
        pixels = alike(pixels)
        labels = torch.as_tensor(labels, dtype=torch.int64)
        soft = _soft_of_all(soft, mask_pixels, n_mask_classes)
        found = found if learns else None
        return cls(pixels, labels, mask_pixels, weights, crop, soft=soft, objects=found)

    def __len__(self):
        return len(self.images)

    def annotated(self):
        """As of `TrainingData`."""
        return self.top > 0

    def weighted(self):
        """As of `TrainingData`."""
        pairs = zip(self.weights, self.masks)
        return any(bool(((weight != 1) & (mask != MISSING)).any()) for weight, mask in pairs)

    def streams(self):
        """As of `TrainingData`."""
        return split_streams(self.top)

    def draw(self, positions, generator):
        """A random place for a crop of each image: ``corners`` (N, 2), rows and columns."""
        sizes = [self.images[i].shape[1:] for i in positions.tolist()]
        corners = [random_corner(size, self.crop, generator) for size in sizes]
        return {"corners": torch.tensor(corners)}

    def gather(self, positions, corners):
        """A crop of each image, with its mask and weights, scaled; arguments on the same device."""
        cut = self._cut_each if self.joined is None else self.joined.cut
        images, masks, weights = cut(positions, corners, self.crop["size"])
        if self.size == tuple(images.shape[2:]):
            return images, masks, weights
        images = F.interpolate(
            to_unit(images), size=self.size, mode="bilinear", antialias=True, align_corners=False
        ).clamp_(0, 1)
        if weights.shape[-1] > 1:
            weights = _nearest_batch(weights, self.size)
        return images, _nearest_batch(masks, self.size), weights

    def gather_soft(self, positions, corners):
        """Probabilities of the crops of `gather`, where a mask is soft; else None."""
        return None if self.soft is None else self._crops(self.soft, positions, corners)

    def gather_objects(self, positions, corners):
        """What is learned of objects, (N, 2, h, w), float, of the crops of `gather`; or None."""
        if self.objects is None:
            return None
        return unpacked(self._crops(self.objects, positions, corners))

    def _crops(self, maps, positions, corners):
        side, found = self.crop["size"], []
        for i, (top, left) in zip(positions.tolist(), corners.tolist()):
            found.append(maps[i][:, top : top + side, left : left + side])
        found = torch.stack(found)
        if self.size == tuple(found.shape[2:]):
            return found
        return F.interpolate(found, size=self.size, mode="nearest-exact")  # as their masks

    def _cut_each(self, positions, corners, side):
        images, masks, weights = [], [], []
        flat = all(w.numel() == 1 for w in self.weights)
        for i, (top, left) in zip(positions.tolist(), corners.tolist()):
            image, mask, weight = self.images[i], self.masks[i], self.weights[i]
            cut = (slice(top, top + side), slice(left, left + side))
            images.append(image[(slice(None), *cut)])
            masks.append(mask[cut])
            weights.append(weight if flat else weight.expand(mask.shape)[cut])
        return torch.stack(images), torch.stack(masks), torch.stack(weights)

    def take(self, positions):
        """The same data at these positions alone."""
        chosen = positions.tolist()
        lists = ([part[i] for i in chosen] for part in (self.images, self.masks, self.weights))
        images, masks, weights = lists
        labels, top = self.labels[positions], self.top[positions]
        joined = None if self.joined is None else self.joined.take(positions)
        soft = None if self.soft is None else [self.soft[i] for i in chosen]
        objects = None if self.objects is None else [self.objects[i] for i in chosen]
        known = self.labelled[positions.cpu()]
        fields = images, labels, masks, weights, self.crop, top, joined, soft, known
        return CropData(*fields, objects)

    def to(self, device):
        """The same data on another device."""
        soft, objects = (
            None if part is None else [one.to(device) for one in part]
            for part in (self.soft, self.objects)
        )
        if torch.device(device).type == "cpu":
            lists = ([t.to(device) for t in p] for p in (self.images, self.masks, self.weights))
            return CropData(*_crop_fields(*lists, self), None, soft, self.labelled, objects)
        joined = JoinedImages.build(self.images, self.masks, self.weights, device)
        fields = _crop_fields(*joined.views(self.masks), self)
        return CropData(*fields, joined, soft, self.labelled, objects)


def _labelled(labels):
    """Whether a class of each image is known."""
    known = labels != MISSING
    return (known.any(1) if known.ndim == 2 else known).cpu()


def _crop_fields(images, masks, weights, data):
    labels = data.labels.to(masks[0].device)
    return images, labels, masks, weights, data.crop, data.top


@dataclass
class JoinedImages:
    """Images of differing sizes in one long row of pixels, so that one read cuts a whole batch.

    pixels : tensor of shape (P, C), uint8 or float
    masks : tensor of shape (P,), int16
    weights : tensor of shape (n, 1, 1), or (P,) where they differ within an image, float32
    starts, widths : tensors of shape (n,), int64
        Of each image: its first pixel, and the length of its rows.
    """

    pixels: torch.Tensor
    masks: torch.Tensor
    weights: torch.Tensor
    starts: torch.Tensor
    widths: torch.Tensor

    @classmethod
    def build(cls, images, masks, weights, device):
        """Join images (C, H, W), masks (H, W) and weights (1, 1) or (H, W), on a device."""
        counts, n_channels = torch.tensor([mask.numel() for mask in masks]), len(images[0])
        starts, n_pixels = counts.cumsum(0) - counts, int(counts.sum())
        pixels = torch.empty(n_pixels, n_channels, dtype=images[0].dtype, device=device)
        joined = torch.empty(n_pixels, dtype=masks[0].dtype, device=device)
        uniform = all(weight.numel() == 1 for weight in weights)
        spread = torch.stack(weights).to(device) if uniform else joined.new_empty(n_pixels).float()
        for i, (start, count) in enumerate(zip(starts.tolist(), counts.tolist())):
            part = slice(start, start + count)
            pixels[part] = images[i].movedim(0, -1).reshape(-1, n_channels).to(device)
            joined[part] = masks[i].reshape(-1).to(device)
            if not uniform:
                spread[part] = weights[i].expand(masks[i].shape).reshape(-1).to(device)
        widths = torch.tensor([mask.shape[1] for mask in masks])
        return cls(pixels, joined, spread, starts.to(device), widths.to(device))

    def views(self, masks):
        """Lists of images, masks and weights, as `CropData` has them, in the same memory."""
        images, parts, weights, start = [], [], [], 0
        for i, shape in enumerate(mask.shape for mask in masks):
            part = slice(start, start + shape.numel())
            images.append(self.pixels[part].view(*shape, self.pixels.shape[1]).movedim(-1, 0))
            parts.append(self.masks[part].view(shape))
            uniform = self.weights.ndim == 3
            weights.append(self.weights[i] if uniform else self.weights[part].view(shape))
            start = part.stop
        return images, parts, weights

    def cut(self, positions, corners, side):
        """Squares (N, C, side, side) of images, with masks and weights, by their corners (N, 2)."""
        widths = self.widths[positions]
        starts = self.starts[positions] + corners[:, 0] * widths + corners[:, 1]
        where = squares(starts, widths, side)
        weights = self.weights[positions if self.weights.ndim == 3 else where]
        return self.pixels[where].movedim(-1, 1), self.masks[where], weights

    def take(self, positions):
        """The same pixels, of these images alone."""
        weights = self.weights[positions] if self.weights.ndim == 3 else self.weights
        return JoinedImages(
            self.pixels, self.masks, weights, self.starts[positions], self.widths[positions]
        )


def top_weights(masks, weights):
    """The largest weight of each image's annotated pixels, 0 without one: (n,) float32, on the CPU.

    Parameters
    ----------
    masks : n tensors of shape (H, W), int
    weights : n tensors of shape (1, 1) or (H, W), float
    """
    return torch.tensor([float(((m != MISSING) * w).max()) for m, w in zip(masks, weights)])


def _reflected(tensor, crop):
    maps = tensor.numpy() if tensor.ndim == 2 else np.moveaxis(tensor.numpy(), 0, -1)
    maps = reflected(maps, crop)
    maps = maps if tensor.ndim == 2 else np.moveaxis(maps, -1, 0)
    return torch.from_numpy(np.ascontiguousarray(maps))


def _nearest_batch(maps, size):
    resized = F.interpolate(maps[:, None].float(), size=size, mode="nearest-exact")
    return resized[:, 0].to(maps.dtype)


def split_streams(top):
    """Positions of fully trusted masks, and of all other images; all and none without any mask.

    Images whose largest weight is the largest of all are the first stream, pseudo-labelled ones
    and those without a mask the second: a batch holds a fixed share of each, so the number of
    masks does not change how often each kind is seen.

    Parameters
    ----------
    top : tensor of shape (n,), float
        The largest weight of each image's annotated pixels, 0 where there is none.
    """
    if not (top > 0).any():
        return torch.arange(len(top)), torch.arange(0)
    first = top >= top.max()
    return first.nonzero().flatten(), (~first).nonzero().flatten()


def _weight_tensor(mask_weight, n, canvas):
    if mask_weight is None:
        return torch.ones(n, 1, 1)
    pixelwise = any(np.ndim(mask_weight[i]) for i in range(n))
    if not pixelwise:
        return torch.as_tensor(np.asarray(mask_weight, dtype=np.float32)).reshape(n, 1, 1)
    return torch.stack(
        [
            _nearest(torch.from_numpy(np.array(w, dtype=np.float32)), canvas)
            if np.ndim(w)
            else torch.full(tuple(canvas), float(w))
            for w in mask_weight
        ]
    )
