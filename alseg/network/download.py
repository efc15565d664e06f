"""Weights from a URL: downloaded once, told apart by their URL, known by their content after."""

import errno
import http.client
import re
import time
import urllib.error
import urllib.parse
from contextlib import suppress
from pathlib import Path, PurePosixPath

import torch

from alseg.files import (
    digest_of,
    file_digest,
    file_name,
    naming,
    remove_files,
    replacing,
    sweep,
    write_text,
)

# As torchvision names its files: the first digits of the SHA-256 of their content. Not a date.
_HASH = re.compile(r"-(?!(?:19|20)\d{6}\.)([0-9a-f]{8,64})\.\w+$")


def downloaded(url, folder=None):
    """The file of a URL, from the cache or downloaded into it.

    Parameters
    ----------
    url : str
    folder : str, Path or None, default=None
        None is ``checkpoints`` in `torch.hub.get_dir()`, which ``TORCH_HOME`` moves.

    Returns
    -------
    path : Path
        Its name holds a digest of the URL: two URLs never share a file. The SHA-256 of what was
        downloaded first stands beside it in ``<name>.sha256``.

    Raises
    ------
    OSError
        If it cannot be downloaded or written.
    ValueError
        If its content is not what its name says (torchvision's ``-f37072fd.pth``), or not what was
        downloaded before.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints" if folder is None else Path(folder)
    name = PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name or "weights"
    begins = _HASH.search(name)
    begins = begins[1] if begins else ""
    shared = folder / name  # where torchvision and timm keep it: ours too if its content is told
    if begins and shared.is_file() and file_digest(shared).startswith(begins):
        return shared
    stem, suffix = Path(name).stem, Path(name).suffix
    path = folder / file_name(f"{stem}-{digest_of(url, 12)}", suffix)
    if not path.is_file():
        _sweep(folder)
        with replacing(path, folder) as temporary:
            _download(url, temporary)
            digest = file_digest(temporary)
            if not digest.startswith(begins):
                raise ValueError(
                    f"encoder_weights must be a URL whose file has the SHA-256 that its name "
                    f"tells, {begins}..., got {url!r}, whose file has {digest[:16]}.... "
                    "Nothing was kept."
                )
            # First the digest: what has none was not downloaded whole.
            write_text(_digest_path(path), f"{digest}\n", folder)
        return path
    with naming(path, "read"):
        digest = file_digest(path)
        first = begins
        with suppress(FileNotFoundError):
            first = _digest_path(path).read_text("ascii", errors="replace").strip() or begins
    if not digest.startswith(first):
        raise ValueError(
            f"{path} must be what was downloaded from {url} (SHA-256 {first[:16]}...), got "
            f"{digest[:16]}.... Remove it, and it is downloaded again."
        )
    return path


def forget(path):
    """Remove a file of `downloaded` from the cache: it cannot be read; fetch it anew."""
    if _digest_path(path).is_file():
        remove_files(path.parent, [path.name, _digest_path(path).name])


def _sweep(folder):
    """Remove what killed downloads have left; torch writes them beside the file it is given."""
    sweep(folder)
    with suppress(OSError):
        parts = folder.glob(".alseg-*.partial")
        remove_files(folder, [p.name for p in parts if time.time() - p.stat().st_mtime > 86400])


def _digest_path(path):
    return path.with_name(path.name + ".sha256")


def _download(url, temporary):
    try:
        torch.hub.download_url_to_file(url, str(temporary))
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        ConnectionError,
        TimeoutError,
    ) as error:
        reason = getattr(error, "reason", None) or error
        named = OSError(
            f"encoder_weights could not be downloaded from {url}: {reason}. Fetch the file by "
            "other means and give its path."
        )
        named.errno = errno.EIO
        raise named from error
