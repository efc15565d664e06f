"""What a frozen encoder has seen before: feature maps on disk, by the content of the image."""

import hashlib
import os
import secrets
import warnings
from pathlib import Path

import numpy as np
import torch

from alseg.network.joint import evaluating


class FeatureMemory:
    """Feature maps of an encoder that does not change, each computed once and read afterwards.

    A file an input, in float16, named by a digest of the input and the encoder's weights. Any number
    of processes may share the folder, and it may be deleted at any time. What is returned has gone
    through float16 the first time too, and each input is computed by itself, so that results do not
    depend on what was known before or on the batch.

    Parameters
    ----------
    folder : str or Path
        Created when the first maps are written.

    Examples
    --------
    >>> import tempfile
    >>> from alseg.network.encoder import TinyEncoder
    >>> encoder, x = TinyEncoder(width=4).eval(), torch.rand(2, 3, 32, 32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first = FeatureMemory(folder)(encoder, x)
    ...     again = FeatureMemory(folder)(encoder, x)
    >>> [tuple(maps.shape) for maps in again], torch.equal(first[0], again[0])
    ([(2, 4, 16, 16), (2, 8, 8, 8), (2, 16, 4, 4), (2, 24, 2, 2)], True)
    """

    def __init__(self, folder):
        self.folder = Path(folder).expanduser()
        self._of = None, None  # the encoder that the digest is of, and the digest

    def __call__(self, encoder, x):
        """The maps of `encoder` in evaluation mode for inputs (N, 3, H, W), without gradients.

        Parameters
        ----------
        encoder : nn.Module
            With ``out_channels`` and ``strides``; its weights are looked at once.
        x : tensor of shape (N, 3, H, W), float
            As the encoder gets it, H and W multiples of the deepest stride.

        Returns
        -------
        list of tensors of shape (N, C_i, H / s_i, W / s_i)
        """
        shapes = [(c, x.shape[2] // s, x.shape[3] // s) for c, s in zip(encoder.out_channels,
                                                                       encoder.strides)]  # fmt: skip
        rows = [self._row(encoder, one, shapes) for one in x.split(1)]
        joined = torch.from_numpy(np.stack(rows)).to(x.device, torch.float32)
        sizes = [int(np.prod(shape)) for shape in shapes]
        return [
            part.reshape(-1, *shape).contiguous(memory_format=torch.channels_last)
            for part, shape in zip(joined.split(sizes, 1), shapes)
        ]

    def _row(self, encoder, x, shapes):
        path = self._path(encoder, x)
        try:
            row = np.load(path, allow_pickle=False)
            if row.shape == (sum(int(np.prod(shape)) for shape in shapes),):
                return row
        except (OSError, ValueError, EOFError):  # not there, or half a file of a machine that went down
            pass
        # In float32 also inside autocast: what is kept serves fits of either kind.
        with evaluating(encoder), torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            maps = encoder(x.float())
        limit = torch.finfo(torch.float16).max
        flat = torch.cat([m.float().clamp(-limit, limit).flatten() for m in maps])
        row = flat.half().cpu().numpy()
        self._write(path, row)
        return row

    def _path(self, encoder, x):
        if self._of[0] is not encoder:
            state = encoder.state_dict()
            # The names and layers too: other code may have weights of the same values.
            what = f"{type(encoder).__module__}.{encoder!r}{list(state)}"
            self._of = encoder, _digest(state.values(), what)
        name = _digest([x], self._of[1])
        return self.folder / name[:2] / f"{name}.npy"

    def _write(self, path, row):
        part = path.with_name(f"{path.stem}-{secrets.token_hex(4)}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(part, "wb") as file:
                np.save(file, row)
            os.replace(part, path)
        except OSError as error:  # what is kept only saves time
            warnings.warn(f"Feature maps are not kept in {self.folder}: {error}", stacklevel=2)


def _digest(tensors, start=""):
    digest = hashlib.blake2b(start.encode(), digest_size=16)
    for tensor in tensors:
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array)
    return digest.hexdigest()
