"""What does choosing cost? Picks and pixel scores beside peers, one thread, and up to 10^6 points.

    python -m benchmarks.speed.selection  # about 20 minutes on one core, with peers
    python -m benchmarks.speed.selection --parts core-set scale

Peers are optional: `pip install -r benchmarks/requirements-peers.txt`, in an environment of their
own that has alseg too. A part whose peer is not installed is left out, and says so.

- core-set: 10 000 x 512 float32, 100 labelled, 100 asked; against a bare loop of the same number of
  matrix-vector products with nothing else computed, scikit-activeml and small-text; and the picks
  against a search in double precision, also far from the origin;
- badge: 5 000 x 512, 100 classes, against scikit-activeml; memory above the start;
- typiclust, prob-cover: the data of core-set, time and memory against scikit-activeml;
- draws: the variance of 20 draws of the pixels of 64 images of 128 x 128 against BaaL, the same
  network with the same dropout; memory with 5 and with 50 draws;
- scale: core-set, k-means++ and BADGE of 10^4, 10^5 and 10^6 x 256 memory-mapped points;
- million: every strategy on embeddings, 20 picks of 10^6 x 256 memory-mapped points, 20 labelled.
  Slow ones are measured on fewer, their time at 10^6 (`cpu_at_million`) follows from that, and
  their memory at 10^6 is what their first seconds took (`mib_begun`). For those that compare all
  pairs of a cluster or of the pool, `subsample` is measured at 10^6 too. Peers: 10^5, in 10 GiB.

Times are CPU seconds at one thread; memory is anonymous memory (Linux alone), sampled in a process
of its own that has imported what it needs: the same call on a few points comes first. The exit
status is 1 where a limit is broken.
"""

import argparse
import contextlib
import copy
import functools
import importlib.metadata
import importlib.util
import json
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from alseg.query import diversity
from benchmarks.core.results import RESULTS, write_record
from benchmarks.core.timing import Stopwatch, checked_row, interleave, ratio_row, said_by_child

N, D, N_LABELLED, N_ASKED = 10_000, 512, 100, 100
N_BADGE, K_BADGE = 5000, 100
RADIUS = 28.0  # of prob-cover: balls of some hundred points
RADIUS_256 = 20.0  # of prob-cover of `million`: balls of some hundred points
SCALES = (10_000, 100_000, 1_000_000)
N_MILLION, N_PICKS, N_SUBSAMPLE = 1_000_000, 20, 20_000
SCALE_D = 256
WARM_UP = 500


def here(package):
    found = importlib.util.find_spec(package) is not None
    if not found:
        print(f"# {package} is not installed: left out", flush=True)
    return found


# -- data --


def clustered(n=N, d=D, seed=0):
    rng = np.random.default_rng(seed)
    centres = 3 * rng.standard_normal((50, d))
    X = centres[rng.integers(50, size=n)] + rng.standard_normal((n, d))
    return X.astype(np.float32)


def pool_and_labelled(seed=0, n=None):
    n = N if n is None else n
    X = np.random.default_rng(seed).standard_normal((n + N_LABELLED, D)).astype(np.float32)
    return X[:n], X[n:]


def as_skactiveml(X, labelled):
    """Features and labels as scikit-activeml takes them: nan is not labelled."""
    y = np.full(len(X) + len(labelled), np.nan)
    y[len(X) :] = np.arange(len(labelled)) % 2
    return np.concatenate([X, labelled]), y


# -- the sides, each one call --


def bare_products(X, labelled):
    for centre in labelled:
        X @ centre
    for centre in X[:N_ASKED]:
        X @ centre


def brute_k_center(X, labelled, n):
    X, labelled = X.astype(np.float64), labelled.astype(np.float64)
    near = np.full(len(X), np.inf)
    for centre in labelled:
        near = np.minimum(near, ((X - centre) ** 2).sum(axis=1))
    picks = []
    for _ in range(n):
        picks.append(int(near.argmax()))
        near = np.minimum(near, ((X - X[picks[-1]]) ** 2).sum(axis=1))
        near[picks] = -1
    return np.array(picks)


def run_side(side, seed=0, n=None):
    """Build a side's input of `n` points (None: all), and return the call to be measured."""
    if side.startswith("badge"):
        rng = np.random.default_rng(seed)
        n = N_BADGE if n is None else n
        X = rng.standard_normal((n, D)).astype(np.float32)
        proba = rng.dirichlet(np.full(K_BADGE, 0.1), size=n)
        if side == "badge":
            from alseg.query import badge_picks

            return lambda: badge_picks(proba.astype(np.float32), X, N_ASKED, random_state=seed)
        return skactiveml_badge(X, proba, seed)
    n = N if n is None else n
    if side.startswith("core-set"):
        X, labelled = pool_and_labelled(seed, n)
    else:
        X = clustered(n + N_LABELLED, seed=seed)
        X, labelled = X[:n], X[n:]
    if side == "core-set":
        return lambda: diversity.k_center_greedy(X, N_ASKED, labelled)
    if side == "core-set-bare":
        return lambda: bare_products(X, labelled)
    if side == "core-set-small-text":
        from small_text.query_strategies.coresets import greedy_coreset

        both = np.concatenate([X, labelled])
        return lambda: greedy_coreset(
            both, np.arange(n), np.arange(n, n + N_LABELLED), N_ASKED, distance_metric="euclidean"
        )
    if side == "typiclust":
        return lambda: diversity.typiclust(X, N_ASKED, labelled, n_neighbors=5, random_state=seed)
    if side == "prob-cover":
        return lambda: diversity.prob_cover(X, N_ASKED, RADIUS, labelled, random_state=seed)
    from skactiveml import pool

    both, y = as_skactiveml(X, labelled)
    strategy = {
        "core-set-skactiveml": lambda: pool.CoreSet(random_state=seed),
        "typiclust-skactiveml": lambda: pool.TypiClust(random_state=seed, k=5),
        "prob-cover-skactiveml": lambda: pool.ProbCover(
            random_state=seed, n_classes=2, deltas=[RADIUS]
        ),
    }[side]()
    return lambda: strategy.query(both, y, batch_size=N_ASKED)


def skactiveml_badge(X, proba, seed):
    from skactiveml.base import SkactivemlClassifier
    from skactiveml.pool import Badge

    class Known(SkactivemlClassifier):
        """Predicts what it was given, so that no training is measured."""

        def fit(self, X, y, sample_weight=None):
            self.classes_ = np.arange(K_BADGE)
            return self

        def predict_proba(self, X):
            return proba[: len(X)]

    y = np.full(len(X), np.nan)
    clf = Known(classes=list(range(K_BADGE)), missing_label=np.nan)
    clf.classes_ = np.arange(K_BADGE)
    strategy = Badge(random_state=seed)
    return lambda: strategy.query(X, y, clf=clf, fit_clf=False, batch_size=N_ASKED)


# -- memory, in a process of its own --


def anonymous():
    """Anonymous memory of this process, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no RssAnon in /proc/self/status")


class Peak:
    """The largest anonymous memory above the start, looked at every 2 ms."""

    def __enter__(self):
        self.start = self.most = anonymous()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self):
        while not self.stop.wait(0.002):
            self.most = max(self.most, anonymous())

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        self.above = max(self.most, anonymous()) - self.start


def child(*arguments):
    return said_by_child("benchmarks.speed.selection", arguments)


def run_as_child(kind, *arguments):
    """What a child does: one side, or one case of scale or draws.

    Each runs on a few points first: what a library imports is not what choosing costs.
    """
    if kind == "side":
        run_side(arguments[0], int(arguments[1]), n=WARM_UP)()
        call = run_side(arguments[0], int(arguments[1]))
    elif kind in ("million", "begun"):
        million_call(arguments[0], arguments[1], WARM_UP)()
        call = million_call(arguments[0], arguments[1], int(arguments[2]))
    elif kind == "scale":
        scale_call(arguments[0], arguments[1], WARM_UP)()
        call = scale_call(arguments[0], arguments[1], int(arguments[2]))
    elif kind == "peer":
        resource.setrlimit(resource.RLIMIT_AS, (PEER_BYTES, PEER_BYTES))
        peer_call(arguments[0], arguments[1], WARM_UP)()
        call = peer_call(arguments[0], arguments[1], int(arguments[2]))
    else:
        call = draws_call(int(arguments[0]))
    watch = Stopwatch()
    with Peak() as peak:
        if kind == "begun":
            call_for(SECONDS_BEGUN, call)
        else:
            call()
    cpu, wall = watch.read()
    print(json.dumps({"mib": peak.above, "cpu": cpu, "wall": wall}))


def call_for(seconds, call):
    """Call, and break off after so many CPU seconds."""

    def stop(*_):
        raise TimeoutError

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    with contextlib.suppress(TimeoutError):
        call()
    signal.setitimer(signal.ITIMER_PROF, 0)


# -- parts --


def core_set(repeats, seed):
    sides = {s: run_side(s, seed) for s in ("core-set", "core-set-bare")}
    seconds = interleave(sides, repeats)
    rows = [ratio_row("core-set-to-bare-products", *seconds.values(), 1.0)]
    for package, side in (
        ("skactiveml", "core-set-skactiveml"),
        ("small_text", "core-set-small-text"),
    ):
        if here(package):
            rows.append(against_peer("core-set", side, seed, 1.0, seconds["core-set"]))
    X, labelled = pool_and_labelled(seed)
    for shift in (0, 100, 10_000):
        moved = X + np.float32(shift), labelled + np.float32(shift)
        same = brute_k_center(*moved, N_ASKED) == diversity.k_center_greedy(
            moved[0], N_ASKED, moved[1]
        )
        rows.append(
            checked_row(f"core-set-exact-shift-{shift}", float(same.mean()), 1.0, at_least=True)
        )
    if here("skactiveml"):
        picks = run_side("core-set-skactiveml", seed)()
        same = float((picks == diversity.k_center_greedy(X, N_ASKED, labelled)).mean())
        rows.append(checked_row("core-set-picks-as-skactiveml", same, 1.0, at_least=True))
    return rows


def against_peer(name, peer, seed, limit, seconds):
    call, watches = run_side(peer, seed), []
    for _ in range(2):
        watch = Stopwatch()
        call()
        watches.append(watch.read())
    return ratio_row(f"{name}-to-{peer.removeprefix(name + '-')}", seconds, watches, limit)


def with_memory(name, repeats, seed, time_limit, memory_limit=None, above_limit=None):
    seconds = interleave({name: run_side(name, seed)}, repeats)[name]
    ours = child("side", name, seed)["mib"]
    rows = [{"name": f"{name}-seconds", "seconds": seconds, "mib": ours}]
    print(f"# {name}: {np.median(seconds, axis=0)[0]:.3f} s, {ours:.1f} MiB", flush=True)
    if above_limit is not None:
        rows.append(checked_row(f"{name}-mib-above-start", ours, above_limit))
    if here("skactiveml"):
        peer = f"{name}-skactiveml"
        rows.append(against_peer(name, peer, seed, time_limit, seconds))
        theirs = child("side", peer, seed)["mib"]
        if memory_limit is not None:
            row = checked_row(f"{name}-memory-to-skactiveml", ours / theirs, memory_limit)
            rows.append({**row, "mib": [ours, theirs]})
        else:
            rows.append({"name": f"{name}-memory", "mib": [ours, theirs]})
    return rows


def badge(repeats, seed):
    if importlib.util.find_spec("alseg.query.gradients") is None:
        return []
    return with_memory("badge", repeats, seed, 1 / 20, above_limit=100)


def typiclust(repeats, seed):
    return with_memory("typiclust", repeats, seed, 1.0, 0.5)


def prob_cover(repeats, seed):
    return with_memory("prob-cover", repeats, seed, 1.0, 0.5)


def draws_model():
    from alseg import JointCAMSegmenter
    from alseg.datasets import make_glands

    glands = make_glands(8, image_size=(128, 128), random_state=0)
    model = JointCAMSegmenter(
        encoder="resnet18", image_size=(128, 128), max_epochs=1, random_state=0, device="cpu"
    )
    model.fit(glands.images, glands.labels, glands.masks)
    return model, make_glands(64, image_size=(128, 128), random_state=1).images


def draws_call(n_draws):
    model, images = draws_model()
    model.predict_uncertainty(images[:16], method="mc_variance", n_draws=2, random_state=0)
    return lambda: model.predict_uncertainty(
        images, method="mc_variance", n_draws=n_draws, random_state=0
    )


def draws(repeats, seed):
    rows = []
    memory = {n: child("draws", n)["mib"] for n in (5, 50)}
    row = checked_row("draws-memory-50-to-5", memory[50] / memory[5], 1.1)
    rows.append({**row, "mib": memory})
    if not here("baal"):
        return rows
    import torch
    from baal.bayesian.dropout import patch_module
    from baal.modelwrapper import ModelWrapper, TrainingArgs

    torch.set_num_threads(1)
    model, images = draws_model()

    class Masks(torch.nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, x):
            return self.network(x)["mask_logits"].softmax(1)

    network = copy.deepcopy(model.module_).cpu().eval()
    wrapped = ModelWrapper(
        patch_module(Masks(network), inplace=False),
        TrainingArgs(batch_size=16, use_cuda=False, workers=0, replicate_in_memory=False),
    )
    x = torch.as_tensor(np.asarray(images)).permute(0, 3, 1, 2).float() / 255
    dataset = torch.utils.data.TensorDataset(x, torch.zeros(len(x)))

    def baal():
        proba = wrapped.predict_on_dataset(dataset, iterations=20, verbose=False)
        return proba.var(axis=-1).sum(axis=1).mean(axis=(1, 2))

    sides = {
        "alseg": lambda: model.predict_uncertainty(
            images, method="mc_variance", n_draws=20, random_state=seed
        ),
        "baal": baal,
    }
    seconds = interleave(sides, max(2, repeats // 2))
    return [*rows, ratio_row("draws-to-baal", *seconds.values(), 1 / 10)]


def scale_call(method, path, n):
    X = np.load(path, mmap_mode="r")[:n]
    if method == "badge":
        from alseg.query import badge_picks

        proba = np.load(Path(path).with_name("proba.npy"), mmap_mode="r")[:n]
        return lambda: badge_picks(proba, X, N_ASKED, random_state=0)
    if method == "k-means++":
        return lambda: diversity.k_means_plus_plus(X, N_ASKED, random_state=0)
    return lambda: diversity.k_center_greedy(X, N_ASKED)


def mapped(folder, n, seed):
    """A file of n points in 50 clusters, and their centres."""
    path = Path(folder) / "X.npy"
    X = np.lib.format.open_memmap(path, "w+", np.float32, (n, SCALE_D))
    rng = np.random.default_rng(seed)
    centres = 3 * rng.standard_normal((50, SCALE_D), np.float32)
    for start in range(0, n, 50_000):
        part = slice(start, start + 50_000)
        X[part] = centres[rng.integers(50, size=50_000)]
        X[part] += rng.standard_normal((50_000, SCALE_D), np.float32)
    return path


def scale(repeats, seed):
    rows = []
    methods = ["core-set", "k-means++"]
    if importlib.util.find_spec("alseg.query.gradients") is not None:
        methods.append("badge")
    with tempfile.TemporaryDirectory(prefix="selection-") as folder:
        n, rng = max(SCALES), np.random.default_rng(seed)
        path = mapped(folder, n, seed)
        proba = np.lib.format.open_memmap(path.with_name("proba.npy"), "w+", np.float32, (n, 10))
        for start in range(0, n, 50_000):
            proba[start : start + 50_000] = rng.dirichlet(np.full(10, 0.3), size=50_000)
        del proba
        for method in methods:
            found = {m: child("scale", method, path, m) for m in SCALES}
            per_pick = {m: found[m]["cpu"] / N_ASKED for m in SCALES}
            for m in SCALES:
                print(
                    f"# {method} {m}: {1e3 * per_pick[m]:.2f} ms a pick, {found[m]['mib']:.0f} MiB",
                    flush=True,
                )
            rows.append(
                checked_row(f"scale-{method}-mib", max(f["mib"] for f in found.values()), 256)
            )
            for small, large in zip(SCALES, SCALES[1:], strict=False):
                ratio = per_pick[large] / per_pick[small]
                rows.append(checked_row(f"scale-{method}-{large}-to-{small}", ratio, 25))
            rows.append({"name": f"scale-{method}", "per_size": found})
    return rows


# -- every strategy on embeddings --

# Few passes over the points; and those that are measured on fewer: how many, and by which power of
# their number the time is taken to grow. All pairs of a cluster or of the pool are a square.
LINEAR = (
    "core_set",
    "k_means_plus_plus",
    "k_means",
    "alps",
    "clue",
    "dpp",
    "density_weighted",
    "aada",
    "vaal",
    "prob_cover",
)
ON_FEWER = {
    "bal": (100_000, 1),
    "discriminative": (100_000, 1),
    "ranked_batch": (100_000, 1),
    "suggestive_annotation": (100_000, 1),
    "typiclust": (100_000, 2),
    "fps": (100_000, 2),
    "facility_location": (20_000, 2),
    "rep_div": (20_000, 2),
}
SQUARE = [name for name, (_, power) in ON_FEWER.items() if power == 2]
SECONDS_BEGUN = 10
N_PEER, PEER_BYTES = 100_000, 10 << 30


def million_call(name, path, n):
    """A strategy of n embeddings; one whose name begins with ``subsample:`` of a part of them."""
    from alseg import strategies

    X = np.load(path, mmap_mode="r")
    rng = np.random.default_rng(1)
    X, labelled = X[:n], X[:N_PICKS] + rng.standard_normal((N_PICKS, SCALE_D), np.float32)
    doubt = rng.random(n)
    options = {
        "density_weighted": {"score": lambda learner, ids: doubt[ids]},
        "suggestive_annotation": {"score": lambda learner, ids: doubt[ids]},
        "clue": {"score": lambda learner, ids: doubt[ids]},
        "dpp": {"score": lambda learner, ids: doubt[ids]},
        "ranked_batch": {"score": lambda learner, ids: doubt[ids]},
        "aada": {"score": lambda learner, ids: doubt[ids], "source": labelled},
        "prob_cover": {"radius": RADIUS_256},
    }

    class Learner:
        X_training = np.full(N_PICKS, -1)

    def embed(ids):
        if ids is Learner.X_training:
            return labelled
        return X if len(ids) == len(X) else X[ids]  # the map itself, where all is asked for

    strategy = name.removeprefix("subsample:")
    f = functools.partial(
        getattr(strategies, f"{strategy}_sampling"), embedding=embed, **options.get(strategy, {})
    )
    if strategy != name:
        f = strategies.subsample(f, min(N_SUBSAMPLE, len(X)))
    return lambda: f(Learner, np.arange(len(X)), N_PICKS, random_state=0)


def peer_call(name, path, n):
    """scikit-activeml's strategy of the same name, which takes arrays, not maps."""
    from skactiveml import pool

    X = np.load(path, mmap_mode="r")[:n]
    both, y = as_skactiveml(X, X[:N_PICKS] + np.float32(1))
    options = {"n_classes": 2, "deltas": [RADIUS_256]} if name == "ProbCover" else {}
    strategy = getattr(pool, name)(random_state=0, **options)
    return lambda: strategy.query(both, y, batch_size=N_PICKS)


def peer_row(name, path):
    """What a peer takes of `N_PEER` points, in `PEER_BYTES` of address space."""
    try:
        found = child("peer", name, path, N_PEER)
    except subprocess.CalledProcessError:
        found = {"failed": f"more than {PEER_BYTES >> 30} GiB"}
    print(f"# scikit-activeml's {name} of {N_PEER}: {found}", flush=True)
    return {"name": f"million-peer-{name}", "n": N_PEER, **found}


def million_row(name, found, n):
    print(f"# {name} of {n}: {found['cpu']:.1f} s", flush=True)
    return {**checked_row(f"million-{name}-mib", found["mib"], 256), "n": n, **found}


def million(repeats, seed):
    rows = []
    with tempfile.TemporaryDirectory(prefix="selection-") as folder:
        path = mapped(folder, N_MILLION, seed)
        for name in LINEAR:
            rows.append(million_row(name, child("million", name, path, N_MILLION), N_MILLION))
        for name, (n, power) in ON_FEWER.items():
            row = million_row(name, child("million", name, path, n), n)
            begun = child("begun", name, path, N_MILLION)["mib"]
            more = {"mib_begun": begun, "cpu_at_million": (N_MILLION / n) ** power * row["cpu"]}
            rows.append({**row, **more, "met": row["met"] and begun <= row["limit"]})
        for name in (f"subsample:{name}" for name in SQUARE):
            rows.append(million_row(name, child("million", name, path, N_MILLION), N_MILLION))
        if here("skactiveml"):
            rows += [peer_row(name, path) for name in ("CoreSet", "TypiClust", "ProbCover")]
    return rows


PARTS = {
    "core-set": core_set,
    "badge": badge,
    "typiclust": typiclust,
    "prob-cover": prob_cover,
    "draws": draws,
    "scale": scale,
    "million": million,
}


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "selection.json")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.child:
        run_as_child(*arguments.child)
        return 0
    rows, started, peers = [], time.time(), {}
    if arguments.out.exists():  # parts that are not run again stay
        there = json.loads(arguments.out.read_text(encoding="utf-8"))
        rows = [row for row in there["rows"] if row["part"] in PARTS]
        rows = [row for row in rows if row["part"] not in arguments.parts]
        peers = there.get("peers", {})
    for name in arguments.parts:
        rows += [{"part": name, **row} for row in PARTS[name](arguments.repeats, arguments.seed)]
    for package in ("scikit-activeml", "small-text", "baal"):
        try:
            peers[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            peers.setdefault(package, None)
    return write_record(
        arguments.out, rows, seed=arguments.seed, peers=peers, wall_seconds=time.time() - started
    )


if __name__ == "__main__":
    sys.exit(main())
