"""What a frozen encoder has seen before: feature maps on disk, by the content of the image."""

import hashlib
import itertools
import warnings
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from alseg.files import OutsideFolder, add_array, remove_tree, replacing, sweep
from alseg.network.encoder import TinyEncoder
from alseg.network.joint import evaluated

_IN_HAND = 16  # maps that are not written and seen last: a megabyte each


class FeatureMemory:
    """Feature maps of an encoder that does not change, each computed once and read afterwards.

    A file an input, in float16, named by a digest of the input, of the encoder's weights and, for
    an encoder that is not of alseg, of what it makes of a probe: its code may differ where its
    weights do not. Any number of processes may share the folder, and it may be deleted at any
    time. What is returned has gone through float16 the first time too, and each input is computed
    by itself, so that results do not depend on what was known before or on the batch.

    Parameters
    ----------
    folder : str or Path
        Created when the first maps are written.

    Attributes
    ----------
    writes : bool, default=True
        False for images that are looked at in passing: of those only the last few are kept, in
        memory.

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

    # Of the class, since copies of an earlier version lack them.
    _known = None, (), ""  # an encoder, where its weights are and in which version, the digest
    _warned = _swept = False
    writes, _in_hand = True, None

    def __init__(self, folder):
        self.folder = Path(folder).expanduser()

    def __call__(self, encoder, x):
        """The maps of `encoder` in evaluation mode for inputs (N, 3, H, W), without gradients.

        Parameters
        ----------
        encoder : nn.Module
            With ``out_channels`` and ``strides``; its weights are looked at once, and again after
            they were written to.
        x : tensor of shape (N, 3, H, W), float
            As the encoder gets it, H and W multiples of the deepest stride.

        Returns
        -------
        list of tensors of shape (N, C_i, H / s_i, W / s_i)
        """
        shapes = [
            (c, x.shape[2] // s, x.shape[3] // s)
            for c, s in zip(encoder.out_channels, encoder.strides)
        ]
        digest = self._look_at(encoder, x)
        rows = [self._row(encoder, digest, one, shapes) for one in x.split(1)]
        joined = torch.from_numpy(np.stack(rows)).to(x.device, torch.float32)
        sizes = [int(np.prod(shape)) for shape in shapes]
        return [
            part.reshape(-1, *shape).contiguous(memory_format=torch.channels_last)
            for part, shape in zip(joined.split(sizes, 1), shapes)
        ]

    def _row(self, encoder, digest, x, shapes):
        name = _digest([x], digest)
        path = self.folder / name[:2] / f"{name}.npy"
        if self._in_hand is not None and name in self._in_hand:
            self._in_hand.move_to_end(name)
            return self._in_hand[name]
        try:
            row = np.load(path, allow_pickle=False)
            if row.shape == (sum(int(np.prod(shape)) for shape in shapes),):
                return row
        except (
            OSError,
            ValueError,
            EOFError,
        ):  # not there, or half a file of a machine that went down
            pass
        limit = torch.finfo(torch.float16).max
        flat = torch.cat([m.float().clamp(-limit, limit).flatten() for m in _maps(encoder, x)])
        row = flat.half().cpu().numpy()
        if self.writes:
            self._write(path, row)
        else:
            self._hold(name, row)
        return row

    def _hold(self, name, row):
        if self._in_hand is None:
            self._in_hand = OrderedDict()
        self._in_hand[name] = row
        while len(self._in_hand) > _IN_HAND:
            self._in_hand.popitem(last=False)

    def _look_at(self, encoder, x):
        tensors = itertools.chain(encoder.parameters(), encoder.buffers())
        # What writes to a tensor, such as `load_state_dict`, counts its version up.
        versions = [(t.data_ptr(), t._version) for t in tensors]
        known = self._known  # read once: another thread may look at it too
        if known[0] is not encoder or known[1] != versions:
            state = encoder.state_dict()
            # The names and layers too: other code may have weights of the same values.
            what = f"{type(encoder).__module__}.{encoder!r}{list(state)}{_probe(encoder, x)}"
            self._known = known = encoder, versions, _digest(state.values(), what)
        return known[2]

    def _write(self, path, row):
        if not self._swept:  # of processes that were killed
            self._swept = True
            for folder in self.folder.glob("??"):
                sweep(folder)
        try:
            with replacing(path, self.folder, durable=False) as temporary:
                np.save(temporary, row)
        except (OSError, OutsideFolder) as error:  # what is kept only saves time
            if not self._warned:  # once, not at each image
                warnings.warn(f"Feature maps are not kept in {self.folder}: {error}", stacklevel=2)
            self._warned = True


def trim(folder, most):
    """Remove the maps written first from the folder of a `FeatureMemory`, until it is no larger.

    Parameters
    ----------
    folder : str or Path
    most : float
        Bytes.
    """
    found = []
    for path in Path(folder).glob("??/*.npy"):
        with suppress(OSError):  # another process removed it
            status = path.stat()
            found.append((status.st_mtime_ns, str(path), status.st_size))
    size = sum(one[2] for one in found)
    for _, path, n_bytes in sorted(found):
        if size <= most:
            break
        with suppress(OSError, OutsideFolder):
            remove_tree(path, folder)
        size -= n_bytes


def _maps(encoder, x):
    # In float32 also inside autocast: what is kept serves fits of either kind.
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        return evaluated(encoder)(x.float())


def _probe(encoder, x):
    """What a user's encoder makes of a fixed image, in numbers that rounding leaves alone."""
    if type(encoder).__module__ == TinyEncoder.__module__:
        return ""  # of ours layers and weights tell all
    side = 2 * max(encoder.strides)
    try:
        maps = _maps(encoder, _ramp((1, x.shape[1], side, side), x.device))
    except Exception:  # one that takes a single size, which is then that of its images
        maps = _maps(encoder, _ramp((1, *x.shape[1:]), x.device))
    # Sums of one sign do not cancel; weighted, since maps may be the same but for their order.
    maps = [m.cpu().double() for m in maps]
    parts = [part for m in maps for part in (m.relu(), (-m).relu())]
    means = [float((part * _ramp(part.shape, "cpu")).mean()) for part in parts]
    return "".join(f" {mean:.2e}" for mean in means)


def _ramp(shape, device):
    return torch.linspace(0, 1, torch.Size(shape).numel(), device=device).reshape(shape)


def _digest(tensors, start=""):
    digest = hashlib.blake2b(start.encode(), digest_size=16)
    for tensor in tensors:
        add_array(digest, tensor.detach().cpu().numpy())
    return digest.hexdigest()
