"""What all networks do with images first, and with maps of padded ones last."""

import torch
import torch.nn.functional as F
from torch import nn


class NormalizedInputs(nn.Module):
    """A network that normalises images by its buffers `mean` and `std`.

    A subclass has ``min_stride``, that of its mask logits, and calls `normalize_by`.
    """

    min_stride = 1

    def normalize_by(self, mean, std):
        """Take mean and standard deviation, of all channels or of each, as buffers."""
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32).reshape(-1, 1, 1))
        self.register_buffer("std", torch.as_tensor(std, dtype=torch.float32).reshape(-1, 1, 1))

    def colours(self, x):
        """The channels that the encoder sees, of images (N, C, H, W); here all."""
        return x

    def measure(self, images):
        """Set the input normalisation to mean and standard deviation over all pixels and channels.

        Parameters
        ----------
        images : iterable of tensors of shape (C, H, W), uint8 or float in [0, 1]
        """
        n, total, squares = 0, 0.0, 0.0
        for image in images:
            x = image.double() / (255 if image.dtype == torch.uint8 else 1)
            x = self.colours(x[None])
            n, total, squares = n + x.numel(), total + x.sum(), squares + x.square().sum()
        mean = total / n
        self.mean.fill_(float(mean))
        self.std.fill_(float((squares / n - mean**2).clamp(min=1e-12).sqrt()))

    def upsample(self, mask_logits, size):
        """Logits at the decoder's stride to the image's own (N, C, H, W), padding cropped off."""
        h, w = size
        if self.min_stride == 1:
            return mask_logits[:, :, :h, :w]
        full = tuple(s * self.min_stride for s in mask_logits.shape[2:])
        mask_logits = F.interpolate(mask_logits, size=full, mode="bilinear", align_corners=False)
        return mask_logits[:, :, :h, :w]

    @staticmethod
    def crop_maps(maps, size, stride):
        """Maps at a stride without what stands beyond an image of this size, which was padded."""
        h, w = (-(-s // stride) for s in size)
        return maps[:, :, :h, :w]
