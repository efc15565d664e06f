"""SelfSupervisedPretrainer: train an encoder on images that nobody has labelled."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from alseg.files import replacing
from alseg.images import as_images
from alseg.network import (
    NORMALIZATIONS,
    build_encoder,
    forked_torch_rng,
    normalization_numbers,
    normalization_of,
    of_channels,
)
from alseg.progress import progress
from alseg.segmenter.inference import pool_batches
from alseg.segmenter.parameters import check_affine
from alseg.training import (
    AREAS,
    FLIPS,
    alike,
    choose_canvas,
    colour_jitter,
    cycle,
    decoded,
    one_cycle,
    random_affine,
    random_flip,
    resolve_device,
    stain_jitter,
    to_unit,
)
from alseg.validation import check_number, check_option, check_rng, message

_WRITER = "alseg.SelfSupervisedPretrainer"


class SelfSupervisedPretrainer(TransformerMixin, BaseEstimator):
    """Train an encoder so that two views of an image look alike to it: SimSiam [1]_.

    A scikit-learn transformer in form. Its weights are for `JointCAMSegmenter`:
    ``encoder_weights=path`` of what `save_encoder` wrote, with the same `encoder`.

    Parameters
    ----------
    encoder : str or nn.Module, default="efficientnet-lite0"
        As of `JointCAMSegmenter`. A module is copied.
    encoder_weights : None, "bundled", "imagenet", str or Path, default="bundled"
        Where to start from.
    image_size : None, "large", int or (int, int), default=None
        Height and width of a view, rounded up to multiples of the encoder's deepest stride. None is
        the median size of the images, scaled down to an area of at most 128 x 192; ``"large"`` to
        one of at most 192 x 288.
    n_steps : int, default=500
        Gradient steps, 0 or more.
    batch_size : int, default=32
        Images in a batch, each seen twice; at least 2. Fewer images than that come again.
    lr : float, default=1e-3
        Largest learning rate of AdamW, over one cycle.
    flips : {"both", "horizontal", "none"}, default="both"
    affine : (scale, degrees), default=(0.5, 15.0)
        Random zoom and rotation of a view.
    jitter : float in [0, 1), default=0.3
        Random gain and offset of the colour channels of a view.
    stain : float in [0, 1), default=0.0
        Random amounts of stain, for histology alone.
    n_hidden : int, default=256
        Width of the projection, which is not kept.
    normalize : {"auto", "half", "imagenet"}, default="auto"
        Input normalisation. ``"auto"`` is ``"imagenet"`` with ``encoder_weights="imagenet"`` and
        ``"half"`` otherwise. The segmenter has to be given the same: see `normalize_`.
    predict_batch_size : int, default=16
        In `transform`.
    random_state : None, int, Generator or RandomState, default=None
        The global state is neither used nor changed.
    device : str, default="auto"
        ``"auto"`` is a GPU if there is one.
    verbose : int, default=0
        1 shows progress.

    Attributes
    ----------
    encoder_ : nn.Module
    canvas_ : (int, int)
    losses_ : ndarray of shape (n_steps,), float
        In [-1, 1]; -1 is two views that agree.
    spread_ : ndarray of shape (n_steps,), float
        Standard deviation of normalised projections over a batch; about 1 where they point in all
        directions. Near 0 the encoder gives every image the same: it has collapsed.
    normalize_ : {"half", "imagenet"} or (mean, std)
        A pair for encoders of other packages.
    device_ : str

    References
    ----------
    .. [1] Chen and He 2021, arXiv:2011.10566.

    Examples
    --------
    >>> import tempfile
    >>> from alseg.datasets import make_glands
    >>> glands = make_glands(6, image_size=(32, 48), random_state=0)
    >>> pretrainer = SelfSupervisedPretrainer("tiny", n_steps=2, batch_size=4, random_state=0)
    >>> pretrainer.fit(glands.images).transform(glands.images).shape
    (6, 96)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pretrainer.save_encoder(folder + "/encoder.safetensors")
    ...     encoder = build_encoder("tiny", path)
    """

    def __init__(
        self,
        encoder="efficientnet-lite0",
        *,
        encoder_weights="bundled",
        image_size=None,
        n_steps=500,
        batch_size=32,
        lr=1e-3,
        flips="both",
        affine=(0.5, 15.0),
        jitter=0.3,
        stain=0.0,
        n_hidden=256,
        normalize="auto",
        predict_batch_size=16,
        random_state=None,
        device="auto",
        verbose=0,
    ):
        self.encoder = encoder
        self.encoder_weights = encoder_weights
        self.image_size = image_size
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.lr = lr
        self.flips = flips
        self.affine = affine
        self.jitter = jitter
        self.stain = stain
        self.n_hidden = n_hidden
        self.normalize = normalize
        self.predict_batch_size = predict_batch_size
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X, y=None):
        """Train the encoder.

        Parameters
        ----------
        X : images as everywhere: an array, a list of arrays of any sizes, or paths
            At least two.
        y : object
            Not used.

        Returns
        -------
        self
        """
        self._check_parameters()
        images = as_images(X)
        if len(images) < 2:
            raise ValueError(message("X", "at least two images", len(images)))
        rng = check_rng(self.random_state)
        device = resolve_device(self.device)
        with forked_torch_rng(int(rng.integers(2**63 - 1)), device):
            n_channels = images[0].shape[2]
            encoder = build_encoder(self.encoder, self.encoder_weights, n_channels)
            projector, predictor = heads(encoder.out_channels[-1], self.n_hidden)
            canvas = self._canvas(images, encoder.strides[-1])
            views = self._views(images, canvas, rng, device)
            self.normalize_, self.canvas_, self.device_ = self._normalization(), canvas, device
            self.encoder_ = encoder.to(device)
            self._train(nn.ModuleList([self.encoder_, projector, predictor]).to(device), views)
        self.encoder_.eval()
        return self

    def _train(self, parts, views):
        encoder, projector, predictor = parts
        optimizer = torch.optim.AdamW(parts.parameters(), lr=self.lr)
        losses, spread = [], []
        parts.train()
        with progress("pretrain", self.n_steps, "steps", self.verbose > 0) as bar:
            for step in range(self.n_steps):
                for group in optimizer.param_groups:
                    group["lr"] = self.lr * one_cycle(step, self.n_steps)
                # Two passes: BatchNorm that saw both views at once would tell one of the other.
                z = [projector(self._pooled(encoder, next(views))) for _ in range(2)]
                loss = simsiam_loss(predictor(z[0]), predictor(z[1]), *z)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
                # 1 / sqrt(d) is the deviation of a coordinate where directions are spread evenly.
                unit = F.normalize(z[0].detach(), dim=1)
                spread.append(unit.std(0).mean() * unit.shape[1] ** 0.5)
                bar.update()
        self.losses_, self.spread_ = _on_host(losses), _on_host(spread)

    def _views(self, images, canvas, rng, device):
        """Batches of views without an end: the same images twice, each time moved otherwise."""
        generator = torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))
        order = cycle(torch.arange(len(images)), max(1, self.n_steps) * self.batch_size, rng)
        seen, order = order.unique(return_inverse=True)  # of a large pool only these are read
        pixels = []
        with progress("read", len(seen), show=self.verbose > 0) as bar:
            for i in seen.tolist():
                pixels.append(decoded(images, i, canvas))
                bar.update()
        pixels = torch.stack(alike(pixels)).to(device)
        return self._view_batches(pixels, order, generator)

    def _view_batches(self, pixels, order, generator):
        for idx in order.split(self.batch_size):
            batch = to_unit(pixels[idx.to(pixels.device)])
            mask = torch.zeros(len(batch), *batch.shape[2:], dtype=torch.int16, device=batch.device)
            weight = torch.ones(len(batch), 1, 1, device=batch.device)  # views have no mask
            for _ in range(2):
                view, *_ = random_flip(batch, mask, weight, generator, self.flips)
                if self.affine is not None:
                    view, *_ = random_affine(view, mask, weight, generator, *self.affine)
                if self.stain:
                    view = stain_jitter(view, generator, self.stain)
                yield colour_jitter(view, generator, self.jitter) if self.jitter else view

    def _pooled(self, encoder, x):
        mean, std = normalization_numbers(self.normalize_)
        mean, std = (of_channels(v, x.shape[1]).to(x.device) for v in (mean, std))
        return encoder((x - mean) / std)[-1].mean((2, 3))

    def transform(self, X):
        """Embeddings: the mean over positions of the encoder's deepest map.

        Parameters
        ----------
        X : images

        Returns
        -------
        ndarray of shape (n, d), float32
        """
        check_is_fitted(self, "encoder_")
        images, found = as_images(X), []
        batches = pool_batches(
            images,
            self.canvas_,
            self.predict_batch_size,
            self.device_,
            torch.contiguous_format,
            self.verbose > 0,
        )
        with torch.no_grad():
            for _, x in batches:
                found.append(self._pooled(self.encoder_, x).cpu().numpy())
        return np.concatenate(found)

    def save_encoder(self, path):
        """Write the encoder's weights for `JointCAMSegmenter(encoder_weights=path)`.

        Parameters
        ----------
        path : str or Path
            Of a file ending in ".safetensors". One that this function wrote before is replaced.

        Returns
        -------
        Path

        Raises
        ------
        ValueError
            If `path` has another ending, by which it would be read otherwise.
        NotOurs
            If a file is there that this function did not write.
        OSError
            If it cannot be written.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        check_is_fitted(self, "encoder_")
        path = Path(path).expanduser()
        if path.suffix != ".safetensors":
            raise ValueError(message("path", "a file ending in .safetensors", str(path)))
        state = {k: v.detach().cpu().contiguous() for k, v in self.encoder_.state_dict().items()}
        with replacing(path, marker=_WRITER) as temporary:
            try:
                save_file(state, temporary, {"format": "pt", "writer": _WRITER})
            except SafetensorError as error:  # a full disk, no error of ours or of the user's
                raise OSError(str(error)) from error
        return path

    def _canvas(self, images, stride):
        size = self.image_size
        if size is None or isinstance(size, str):
            area = AREAS[size and check_option("image_size", size, ("large",))]
            size = choose_canvas([images.size(i) for i in range(len(images))], area)
        size = (size,) * 2 if np.isscalar(size) else tuple(size)
        if len(size) != 2:
            raise ValueError(message("image_size", "None, an int or (height, width)", size))
        sides = [int(check_number("image_size", side, 1, integer=True)) for side in size]
        return tuple(-(-side // stride) * stride for side in sides)

    def _normalization(self):
        if self.normalize != "auto":
            return self.normalize
        return normalization_of(self.encoder, self.encoder_weights)

    def _check_parameters(self):
        check_option("normalize", self.normalize, ("auto", *NORMALIZATIONS))
        check_option("flips", self.flips, FLIPS)
        check_number("n_steps", self.n_steps, 0, integer=True)
        check_number("batch_size", self.batch_size, 2, integer=True)
        check_number("predict_batch_size", self.predict_batch_size, 1, integer=True)
        check_number("n_hidden", self.n_hidden, 4, integer=True)
        check_number("lr", self.lr, 0, open_low=True)
        check_affine(self.affine)
        for name in ("jitter", "stain"):
            check_number(name, getattr(self, name), 0, 1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = []
        tags.non_deterministic = self.random_state is None
        return tags


def heads(n_channels, n_hidden):
    """Projector and predictor of SimSiam: the predictor is narrow in the middle, as published."""
    projector = nn.Sequential(
        nn.Linear(n_channels, n_hidden, bias=False),
        nn.BatchNorm1d(n_hidden),
        nn.ReLU(),
        nn.Linear(n_hidden, n_hidden, bias=False),
        nn.BatchNorm1d(n_hidden, affine=False),
    )
    predictor = nn.Sequential(
        nn.Linear(n_hidden, n_hidden // 4, bias=False),
        nn.BatchNorm1d(n_hidden // 4),
        nn.ReLU(),
        nn.Linear(n_hidden // 4, n_hidden),
    )
    return projector, predictor


def simsiam_loss(p1, p2, z1, z2):
    """Negative cosine between the prediction of one view and the projection of the other [1]_.

    Parameters
    ----------
    p1, p2 : tensors of shape (N, d)
        Predictions from the projections.
    z1, z2 : tensors of shape (N, d)
        Projections of two views. They get no gradient here, which is what prevents a collapse.

    Returns
    -------
    scalar tensor, in [-1, 1]

    References
    ----------
    .. [1] Chen and He 2021, arXiv:2011.10566, Eq. 4.

    Examples
    --------
    >>> p, z = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    >>> round(simsiam_loss(p, z, z, z).item(), 4)  # -(1 / sqrt(2) + 1) / 2
    -0.8536
    """
    first = F.cosine_similarity(p1, z2.detach(), dim=1).mean()
    second = F.cosine_similarity(p2, z1.detach(), dim=1).mean()
    return -(first + second) / 2


def _on_host(values):
    return torch.stack(values).cpu().numpy() if values else np.empty(0, dtype=np.float32)
