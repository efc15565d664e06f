"""Images and masks, read alike from arrays, lists of differing sizes, and files."""

from alseg.images.coding import MaskCoding, decide_coding
from alseg.images.foreign import (
    LazyImages,
    LazyMasks,
    Triple,
    from_hf,
    from_monai,
    from_sequence,
    from_torch,
)
from alseg.images.formats import IMAGE_SUFFIXES, is_image_name
from alseg.images.joined import join_images
from alseg.images.pairs import check_pairs, read_pairs
from alseg.images.read import (
    MASK_MAPPINGS,
    image_depth,
    image_size,
    mask_values,
    read_image,
    read_mask,
)
from alseg.images.sequences import ImageFiles, MaskFiles, as_images, as_masks, fingerprint, stack
from alseg.images.soft import hard_mask, soft_mask, soft_over
from alseg.images.stored import plain_file
from alseg.images.thumbnails import thumbnails

__all__ = [
    "IMAGE_SUFFIXES",
    "ImageFiles",
    "LazyImages",
    "LazyMasks",
    "MASK_MAPPINGS",
    "MaskCoding",
    "MaskFiles",
    "Triple",
    "as_images",
    "as_masks",
    "check_pairs",
    "decide_coding",
    "fingerprint",
    "from_hf",
    "from_monai",
    "from_sequence",
    "from_torch",
    "hard_mask",
    "image_size",
    "is_image_name",
    "join_images",
    "image_depth",
    "mask_values",
    "plain_file",
    "read_image",
    "read_mask",
    "read_pairs",
    "soft_mask",
    "soft_over",
    "stack",
    "thumbnails",
]
