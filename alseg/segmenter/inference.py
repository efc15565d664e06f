"""Streaming prediction over a pool: one pass a batch, draws as running sums, only results kept."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from alseg.derived import of_images
from alseg.images import as_images
from alseg.network import Generators, dropout_mask, evaluated, with_dropout
from alseg.progress import progress
from alseg.query import DRAW_UNCERTAINTIES, UNCERTAINTIES, sums_for
from alseg.training import alike, decoded, image_tensor, scaled, to_unit, whole_image

# Views as axes that are flipped, and whether height and width change places after that.
_FLIPS = tuple((axes, False) for axes in ((), (-1,), (-2,), (-1, -2)))
TEST_FLIPS = {
    "none": _FLIPS[:1],
    "horizontal": _FLIPS[:2],
    "both": _FLIPS,
    "dihedral": (*_FLIPS, *((axes, True) for axes, _ in _FLIPS)),
}


def turned(maps, view):
    """A view of images or maps (N, C, H, W)."""
    axes, swapped = view
    maps = maps.flip(axes) if axes else maps
    return maps.transpose(-2, -1) if swapped else maps


def turned_back(maps, view):
    """Maps of a view as they lie in the image: what undoes `turned`."""
    axes, swapped = view
    maps = maps.transpose(-2, -1) if swapped else maps
    return maps.flip(axes) if axes else maps


def pool_batches(images, canvas, batch_size, device, memory_format, show=False):
    """Read a pool batch by batch: pairs of (positions, tensor of shape (b, C, h, w) in [0, 1])."""
    if not hasattr(images, "path"):
        images = as_images(images)
    with progress("predict", len(images), show=show) as bar:
        for start in range(0, len(images), batch_size):
            positions = range(start, min(start + batch_size, len(images)))
            pixels = [to_unit(decoded(images, i, canvas).to(device)) for i in positions]
            yield positions, torch.stack(alike(pixels)).contiguous(memory_format=memory_format)
            bar.update(len(positions))


def whole_batches(images, crop, device, memory_format, show=False):
    """As `pool_batches`, each image on its own at the scale that crops are trained at."""
    with progress("predict", len(images), show=show) as bar:
        for i in range(len(images)):
            whole = whole_image(images[i], crop)
            x = to_unit(image_tensor(whole, scaled(whole.shape[:2], crop["scale"])).to(device))
            yield range(i, i + 1), x[None].contiguous(memory_format=memory_format)
            bar.update()


def predict_batch(
    network,
    x,
    has_masks,
    test_flips="none",
    need=("proba", "mask_proba", "cam"),
    restore=None,
):
    """Probabilities and CAM of a batch, from one pass a flip.

    Parameters
    ----------
    network : JointCAMNetwork
    x : tensor of shape (N, C, H, W)
    has_masks : bool
        Whether the mask branch was trained. If not, `mask_proba` is the scaled CAM of the predicted
        class and its complement.
    test_flips : {"none", "horizontal", "both", "dihedral"}
        Views whose class and mask probabilities are averaged; the CAM is that of the image as it
        is.
    need : collection of {"proba", "mask_proba", "cam", "objects", "embedding", \
"decoder_embedding", "cam_embedding"}
    restore : None or callable, default=None
        What brings maps (N, C, H, W), logits where there are some, to the images' own size.

    Returns
    -------
    dict of tensors
        ``proba`` (N, K), ``mask_proba`` (N, C, H, W), ``cam`` (N, K, h, w); the embeddings
        (N, d), of the unflipped image. ``objects`` (N, H, W), with ``mask_proba``: the chance
        of a border, or the depth, each times that of the foreground.
    """
    size = x.shape[2:]
    out = {}
    decode = "mask_proba" in need and has_masks
    views = TEST_FLIPS[test_flips]
    network = evaluated(network)
    with torch.inference_mode():
        for view in views:
            seen = turned(x, view)
            as_it_is = view == views[0]
            features = network.encode(seen)
            if as_it_is and "embedding" in need:
                out["embedding"] = network.embed(features).mean((2, 3))
            logits, cam = network.classify(features, seen.shape[2:])
            if as_it_is:
                out["cam"] = cam
                if "cam_embedding" in need:
                    out["cam_embedding"] = cam_embedding(network, features, logits, cam, size)
                if "decoder_embedding" in need:
                    out["decoder_embedding"] = foreground_embedding(network, features, size)
            out["proba"] = out.get("proba", 0) + class_proba(network, logits) / len(views)
            if decode:
                for name, map_ in decoded_maps(network, features, seen, view, need, restore):
                    out[name] = out.get(name, 0) + map_ / len(views)
            if not {"proba", "mask_proba"} & set(need):
                break
    if "mask_proba" in need and not has_masks:
        proba = cam_proba(out["cam"], out["proba"].argmax(1), size)
        out["mask_proba"] = restore(proba) if restore else proba
    return out


def decoded_maps(network, features, seen, view, need, restore):
    """What the decoder says of a view, as it lies in the image: pairs of a name and maps."""

    def as_in_image(head):
        maps = turned_back(head(decoded, seen.shape[2:]).float(), view)
        return restore(maps) if restore else maps

    decoded = network.decode(features)
    proba = as_in_image(network.mask_head).softmax(1)
    yield "mask_proba", proba
    if "objects" in need:  # of the foreground's alone
        yield "objects", as_in_image(network.object_head)[:, 0].sigmoid() * (1 - proba[:, 0])


def class_proba(network, logits):
    """Probabilities of classes (N, K): of one an image, or of each by itself."""
    several = getattr(network, "multilabel", False)
    return logits.float().sigmoid() if several else logits.float().softmax(1)


def either_or(network, proba):
    """Probabilities (N, K) over whose axis 1 uncertainty is: (N, 2, K) of several classes."""
    several = getattr(network, "multilabel", False)
    return torch.stack([1 - proba, proba], 1) if several else proba


def cam_embedding(network, features, logits, cam, size):
    """What the class head sees, averaged with the scaled CAM of the predicted class as weight.

    Parameters
    ----------
    network : JointCAMNetwork
    features : list of tensors
        The encoder's maps.
    logits : tensor of shape (N, K)
    cam : tensor of shape (N, K, h, w)
    size : (int, int)
        Of the images.

    Returns
    -------
    tensor of shape (N, d)
        The plain mean where the CAM is constant.
    """
    maps = network.crop_maps(network.embed(features), size, network.strides[network.cam_level])
    chosen = cam[torch.arange(len(cam), device=cam.device), logits.argmax(1)]
    return weighted_mean(maps, saliency(chosen, cam.shape[2:]))


def foreground_embedding(network, features, size):
    """The decoder's map, averaged over the pixels that are predicted not to be background.

    Parameters
    ----------
    network : JointCAMNetwork
    features : list of tensors
        The encoder's maps.
    size : (int, int)
        Of the images.

    Returns
    -------
    tensor of shape (N, d)
        The plain mean where no pixel is.
    """
    decoded = network.decode(features)
    predicted = network.mask_head(decoded, size, grid=True).argmax(1)
    maps = network.crop_maps(decoded, size, network.min_stride)
    return weighted_mean(maps, (predicted != 0).float())


def weighted_mean(maps, weight):
    """Mean over positions: (N, d, h, w) maps and (N, h, w) weights to (N, d).

    Examples
    --------
    >>> maps = torch.tensor([[[[1.0, 3.0]]], [[[1.0, 3.0]]]])
    >>> weighted_mean(maps, torch.tensor([[[0.0, 2.0]], [[0.0, 0.0]]]))  # no weight: the plain mean
    tensor([[3.],
            [2.]])
    """
    weight = torch.where(weight.sum((1, 2), keepdim=True) > 0, weight, torch.ones_like(weight))
    weight = weight / weight.sum((1, 2), keepdim=True)
    return torch.einsum("ndhw,nhw->nd", maps.float(), weight.float())


def saliency(cam, size):
    """Min-max-scaled maps: (N, h, w) raw to (N, H, W) in [0, 1]; a constant map gives 0.

    Examples
    --------
    >>> saliency(torch.tensor([[[1.0, 3.0], [2.0, 1.0]]]), (2, 2))
    tensor([[[0.0000, 1.0000],
             [0.5000, 0.0000]]])
    """
    maps = F.interpolate(
        cam[:, None].float(), size=tuple(size), mode="bilinear", align_corners=False
    )
    maps = maps[:, 0]
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp(min=1e-12)


def cam_proba(cam, classes, size):
    """The CAM of one class an image as probabilities (N, 2, H, W) of background and foreground."""
    chosen = cam[torch.arange(len(cam), device=cam.device), classes]
    foreground = saliency(chosen, size)
    return torch.stack([1 - foreground, foreground], 1)


@torch.inference_mode()  # as a decorator it is off between draws
def mask_draws(network, x, n_draws, has_masks=True, restore=None, seed=None):
    """Stochastic mask probabilities of a batch, one draw at a time, on the decoder's grid.

    What comes before the first dropout is computed once. Where that is all but the last
    convolution (the default network), a draw is that convolution with channels of its weight
    dropped: the same ones for all images, so that a score does not depend on the batch. The
    network is not changed, and other threads may use it.

    Parameters
    ----------
    network : JointCAMNetwork
    x : tensor of shape (N, C, H, W)
    n_draws : int
    has_masks : bool
        False draws from the CAM of the predicted class, by the class head's dropout.
    restore : None or callable, default=None
        As in `predict_batch`: the draws are then of the images' own size.
    seed : int or None, default=None
        The same one gives the same draws for each batch. None takes torch's global generators.

    Yields
    ------
    tensor of shape (N, C, H / s, W / s)
    """
    size, still, generators = x.shape[2:], evaluated(network), Generators(seed)
    if not has_masks:
        features, drawing = still.encode(x), with_dropout(network, True, generators)
        for _ in range(n_draws):
            logits, cam = drawing.classify(features, size)
            proba = cam_proba(cam, logits.argmax(1), size if restore else cam.shape[2:])
            yield restore(proba) if restore else proba
        return
    where = network.first_dropout()
    if where in ("head", None):
        decoded = still.decode(still.encode(x))
        weight, bias = still.mask_conv.weight, still.mask_conv.bias
        keep = torch.ones(n_draws, 1, weight.shape[1], 1, 1)
        if still.mask_dropout.p:
            # Drawn at once, and on the CPU: the same draws for each batch, wherever it is.
            keep = dropout_mask(nn.Dropout(still.mask_dropout.p), keep, False, generators)
        keep = keep.to(weight)
        for t in range(n_draws):
            logits = F.conv2d(decoded, weight * keep[t], bias)
            if restore:
                logits = restore(network.upsample(logits, size))
            else:
                logits = network.crop_maps(logits, size, network.min_stride)
            yield logits.float().softmax(1)
        return
    features = still.encode(x) if where == "decoder" else None
    drawing = with_dropout(network, True, generators)
    for _ in range(n_draws):
        if where == "encoder":
            features = drawing.encode(x)
        logits = drawing.mask_head(drawing.decode(features), size, grid=not restore)
        if restore:
            logits = restore(logits)
        yield logits.float().softmax(1)


@torch.inference_mode()
def label_draws(network, x, n_draws, seed=None):
    """Stochastic class probabilities of a batch: the encoder once, the class head `n_draws` times.

    With dropout in the encoder too, the whole is computed for each draw. `seed` is that of
    `mask_draws`.
    """
    in_encoder = network.first_dropout() == "encoder"
    features = None if in_encoder else evaluated(network).encode(x)
    drawing = with_dropout(network, True, seed)
    for _ in range(n_draws):
        if in_encoder:
            features = drawing.encode(x)
        logits, _ = drawing.classify(features, x.shape[2:])
        yield class_proba(network, logits)


def uncertainty_batch(
    network, x, method, target, n_draws, has_masks, test_flips="none", restore=None, seed=None
):
    """Uncertainty of a batch: (N, h, w) maps and mask probabilities, or (N,) for labels.

    `seed` is that of the draws, see `mask_draws`.

    Returns
    -------
    uncertainty : tensor of shape (N, h, w), or (N,) for ``target="label"``
    mask_proba : tensor of shape (N, C, h, w), or None for labels
        Of the same grid.
    """
    axis = 1
    if target == "border":
        need = ("mask_proba", "objects")
        found = predict_batch(network, x, has_masks, test_flips, need, restore)
        border = torch.stack([1 - found["objects"], found["objects"]], axis)
        return UNCERTAINTIES[method](border, axis=axis), found["mask_proba"]
    if method in UNCERTAINTIES:
        need = ("mask_proba",) if target == "mask" else ("proba",)
        proba = predict_batch(network, x, has_masks, test_flips, need, restore)[need[0]]
        if target == "mask":
            return UNCERTAINTIES[method](proba, axis=axis), proba
        return of_images(UNCERTAINTIES[method](either_or(network, proba), axis=axis)), None
    sums = sums_for(method, axis=axis)
    draws = (
        mask_draws(network, x, n_draws, has_masks, restore, seed)
        if target == "mask"
        else label_draws(network, x, n_draws, seed)
    )
    for proba in draws:
        sums.add(proba if target == "mask" else either_or(network, proba))
    uncertainty = DRAW_UNCERTAINTIES[method](sums)
    return (uncertainty, sums.mean()) if target == "mask" else (of_images(uncertainty), None)


def resize_maps(maps, size):
    """Bring (C, h, w) maps to an image's own (H, W), bilinear; numpy float32."""
    if tuple(maps.shape[1:]) != tuple(size):
        maps = F.interpolate(
            maps[None], size=tuple(size), mode="bilinear", align_corners=False, antialias=True
        )[0]
    return maps.cpu().numpy().astype(np.float32, copy=False)
