"""Packages whose encoders are tested for real: timm, segmentation-models-pytorch, transformers.

The first two import torchvision. PyPI's torchvision is built for a torch with CUDA, and beside
torch's CPU build its compiled part cannot be loaded: `import torchvision` then stops at "operator
torchvision::nms does not exist", and with it that of timm and of torchmetrics. Nothing here calls
what is missing, non-maximum suppression of boxes. So where that part does not load, the two
operators whose absence stops the import are declared, without a body: calling one is an error as
before. A torchvision that fits its torch is left as it is.
"""

import importlib.util
from functools import cache
from pathlib import Path

import torch

# Those for which torchvision registers a fake kernel without asking whether its library is there.
STOP_THE_IMPORT = ("nms", "qnms")


@cache  # which keeps the library too: what it declares goes with it
def make_torchvision_importable():
    """Declare what an import of torchvision asks for; without torchvision nothing is done."""
    spec = importlib.util.find_spec("torchvision")  # looks, imports nothing
    if spec is None or spec.origin is None:
        return None
    compiled = next(Path(spec.origin).parent.glob("_C.*"), None)
    try:
        if compiled is not None:
            torch.ops.load_library(str(compiled))  # as torchvision will once more, to no effect
            return None
    except OSError:  # it needs libtorch_cuda
        pass
    library = torch.library.Library("torchvision", "DEF")
    for name in STOP_THE_IMPORT:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
