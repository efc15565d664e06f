"""Figures on axes: learning curves, differences, intervals, who beats whom, time and memory."""

import numpy as np

from alseg.validation import check_number, did_you_mean, message

COLOURS = ("#2b6cc4", "#c2570c", "#0b8a63", "#a8559a", "#9c7a00", "#2c93b8", "#b0485a")
"""Of the rows in their order; each stands out from white and from black (contrast over 3 to 1)."""

CONTROL_COLOUR = "#7d828c"

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
"""Beside the colours, so that nothing rests on colour alone; 63 rows differ in one or the other."""

LINES = ("solid", (0, (5, 1.4)), (0, (1.4, 1.2)), (0, (7, 1.4, 1.4, 1.4)))
"""Of the rows: another one as soon as the colours begin anew. Without colours 28 rows differ."""


_FEW = 3  # rows whose bands need no edges to be told apart


def styles_of(names, control=None):
    """Colours, markers and lines of rows in their order, the control grey.

    Parameters
    ----------
    names : iterable of str
    control : str or None, default=None

    Returns
    -------
    colours, markers, lines : dict of str -> value

    Examples
    --------
    >>> colours, markers, lines = styles_of(["random", "entropy"], control="random")
    >>> colours["random"] == CONTROL_COLOUR, markers["entropy"], lines["entropy"]
    (True, 'o', 'solid')
    """
    others = [name for name in names if name != control]
    colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(others)}
    markers = {name: MARKERS[k % len(MARKERS)] for k, name in enumerate(others)}
    lines = {name: LINES[k // len(COLOURS) % len(LINES)] for k, name in enumerate(others)}
    if control is not None:
        colours[control], markers[control], lines[control] = CONTROL_COLOUR, "o", "solid"
    return colours, markers, lines


def new_axes(width=6.4, height=3.6):
    """Axes of a new figure in inches, made without pyplot's global state.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Its figure is `ax.figure`.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained").add_subplot()


def learning_curve(
    curves,
    x,
    ax=None,
    *,
    x_label="masks",
    y_label="Dice (%)",
    colours=None,
    markers=None,
    lines=None,
    references=None,
    confidence=0.95,
    seeds=True,
    named=True,
):
    """Draw scores against masks, each curve named at its end.

    Parameters
    ----------
    curves : dict of str -> array-like of shape (n_rounds,) or (n_seeds, n_rounds), float
        Scores in the unit of `y_label`. With seeds: a thin line for each, their mean, and a band,
        Student's t interval of the mean. NaN is a gap; the mean stands where no seed that has begun
        is missing.
    x : array-like of shape (n_rounds,), number
    ax : matplotlib.axes.Axes or None, default=None
        None makes new ones.
    x_label, y_label : str
    colours, markers, lines : dict of str -> value, default=None
        By name of the curve; the others take those of `styles_of`.
    references : dict of str -> float or array-like, default=None
        Horizontal lines at the mean of each, named. One far outside the curves is only written at
        the edge, so that it does not press them flat.
    confidence : float or None, default=0.95
        Of the bands; None draws none.
    seeds : bool, default=True
        Whether each seed has its thin line.
    named : bool, default=True
        Whether curves are named at their ends.

    Returns
    -------
    ax : matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If a curve has not as many rounds as `x`.

    Examples
    --------
    >>> ax = learning_curve({"entropy": [61.0, 70.5, 74.2]}, x=[4, 6, 8])
    >>> [line.get_label() for line in ax.lines]
    ['entropy']
    """
    ax = new_axes() if ax is None else ax
    x, curves = _on_one_axis(curves, x)
    both = {name: (np.broadcast_to(x, values.shape), values) for name, values in curves.items()}
    ends = _draw_curves(ax, both, (colours, markers, lines), confidence, seeds)
    _draw_references(ax, references)
    _finish(ax, x_label, y_label)
    _name_ends(ax, ends if named else [])
    _tick_rounds(ax, x)
    return ax


def cost_curve(
    curves,
    ax=None,
    *,
    x_label="pixels",
    y_label="Dice (%)",
    colours=None,
    markers=None,
    lines=None,
    references=None,
    confidence=0.95,
    seeds=True,
    named=True,
):
    """Draw scores against what they cost, where each seed has costs of its own.

    Parameters
    ----------
    curves : dict of str -> (x, y), each array-like of shape (n_seeds, n_rounds), float
        Cost so far and score. The mean is taken at equal cost, not at equal rounds: between the
        rounds of a seed its curve is a line, and the mean ends where the first seed ends.
    ax : matplotlib.axes.Axes or None, default=None
        None makes new ones. Their scale stays as it is: ``ax.set_xscale("log")`` before.
    x_label, y_label, colours, markers, lines, references, confidence, seeds, named
        As in `learning_curve`.

    Returns
    -------
    ax : matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If x and y of a curve differ in shape.

    Examples
    --------
    >>> x, y = [[100, 200], [120, 240]], [[60.0, 70.0], [62.0, 74.0]]
    >>> ax = cost_curve({"entropy": (x, y)})
    >>> ax.lines[0].get_xdata().tolist()  # where both seeds are
    [120.0, 200.0]
    """
    from matplotlib.ticker import EngFormatter

    ax = new_axes() if ax is None else ax
    both = {}
    for name, (x, y) in curves.items():
        x, y = (np.atleast_2d(np.asarray(values, dtype=float)) for values in (x, y))
        if x.shape != y.shape:
            raise ValueError(message(f"curves[{name!r}]", f"of one shape, {x.shape} as x", y.shape))
        both[name] = x, y
    ends = _draw_curves(ax, both, (colours, markers, lines), confidence, seeds)
    _draw_references(ax, references)
    _finish(ax, x_label, y_label)
    _name_ends(ax, ends if named else [])
    if ax.get_xscale() == "linear" and ax.get_xlim()[1] >= 10_000:
        ax.xaxis.set_major_formatter(EngFormatter(sep="\N{NO-BREAK SPACE}"))
    return ax


def paired_differences(
    curves,
    control,
    x,
    ax=None,
    *,
    x_label="masks",
    y_label=None,
    colours=None,
    markers=None,
    lines=None,
    confidence=0.95,
    seeds=True,
    named=True,
):
    """Draw how far rows are above a control at each number of masks, paired by seed.

    Parameters
    ----------
    curves : dict of str -> array-like of shape (n_seeds, n_rounds), float
        Of the rows and the control, seeds in the same order.
    control : str
        Name of the row that is taken from the others; it is the line at zero.
    x : array-like of shape (n_rounds,), number
    ax : matplotlib.axes.Axes or None, default=None
        None makes new ones.
    x_label, y_label : str
        None as `y_label` names the control.
    colours, markers, lines, confidence, seeds, named
        As in `learning_curve`.

    Returns
    -------
    ax : matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the control is not among the curves, or shapes differ.

    Examples
    --------
    >>> curves = {"random": [[60.0, 70.0], [62, 71]], "entropy": [[60, 74], [62, 76]]}
    >>> ax = paired_differences(curves, "random", x=[4, 6])
    >>> ax.lines[0].get_ydata().tolist()
    [0.0, 4.5]
    """
    ax = new_axes() if ax is None else ax
    x, curves = _on_one_axis(curves, x)
    if control not in curves:
        remedy = did_you_mean(control, curves)
        raise ValueError(message("control", f"one of {list(curves)}", control, remedy))
    both = {}
    for name, values in curves.items():
        if values.shape != curves[control].shape:
            rule = f"of shape {curves[control].shape}, as the control's"
            raise ValueError(message(f"curves[{name!r}]", rule, values.shape))
        if name != control:
            both[name] = np.broadcast_to(x, values.shape), values - curves[control]
    ends = _draw_curves(ax, both, (colours, markers, lines), confidence, seeds, [0.0])
    ax.axhline(0, color=_soft(), linewidth=1, zorder=1)
    _finish(ax, x_label, f"difference to {control}" if y_label is None else y_label)
    _name_ends(ax, ends if named else [], signed=True)
    _tick_rounds(ax, x)
    return ax


def area_intervals(differences, ax=None, *, x_label="difference", colours=None, markers=None):
    """Draw differences with their intervals, a line for each row, beside a line at zero.

    Parameters
    ----------
    differences : dict of str -> (difference, low, high)
        An end that is not finite is not drawn: one seed has no interval. A NaN row is left empty.
    ax : matplotlib.axes.Axes or None, default=None
        None makes new ones, as high as the rows need.
    x_label : str
    colours, markers : dict of str -> value, default=None
        As in `learning_curve`.

    Returns
    -------
    ax : matplotlib.axes.Axes

    Examples
    --------
    >>> ax = area_intervals({"entropy": (0.6, -0.6, 1.7), "mine": (2.9, 1.9, 4.0)})
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['entropy', 'mine']
    """
    ax = new_axes(6.4, 0.9 + 0.36 * len(differences)) if ax is None else ax
    styles = _styles(differences, (colours, markers, None))
    for place, (name, (difference, low, high)) in enumerate(differences.items()):
        colour, marker, _ = styles[name]
        if np.isfinite([low, high]).all():
            ax.plot([low, high], [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
        ax.plot([difference], [place], color=colour, marker=marker, markersize=7, linestyle="none")
    ax.axvline(0, color=_soft(), linewidth=1, zorder=1)
    _name_rows(ax, differences)
    _plain(ax, "x")
    ax.set_xlabel(x_label)
    ax.margins(x=0.08)
    return ax


def penalty_heatmap(matrix, names, ax=None, *, colour=None):
    """Draw who beats whom, and at what share of the budgets.

    Parameters
    ----------
    matrix : array-like of shape (n_rows, n_rows), float in [0, 1]
        As `alseg.experiment.statistics.penalty_matrix` gives it: row i beats column j. See its
        caveats.
    names : sequence of str
    ax : matplotlib.axes.Axes or None, default=None
        None makes new ones.
    colour : colour or None, default=None
        Of an entry of 1.

    Returns
    -------
    ax : matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the matrix is not square, or has not a row for each name.

    Examples
    --------
    >>> ax = penalty_heatmap([[0.0, 0.5], [0.0, 0.0]], ["mine", "random"])
    >>> [text.get_text() for text in ax.texts]
    ['50', '0']
    """
    from matplotlib.patches import Rectangle

    matrix, names = np.asarray(matrix, dtype=float), list(map(str, names))
    n = len(names)
    if matrix.shape != (n, n):
        raise ValueError(message("matrix", f"of shape ({n}, {n}), as names", matrix.shape))
    ax = new_axes(2.2 + 0.55 * n, 1.6 + 0.45 * n) if ax is None else ax
    for i, j in np.ndindex(n, n):
        share = float(np.clip(matrix[i, j], 0, 1))
        if i == j:
            continue
        # Opacity, not a colour map: so the entry of 0 is the page, be it light or dark.
        ax.add_patch(
            Rectangle(
                (j - 0.47, i - 0.47),
                0.94,
                0.94,
                linewidth=0,
                alpha=0.55 * share,
                facecolor=colour or COLOURS[0],
            )
        )
        ax.text(j, i, f"{100 * share:.0f}", ha="center", va="center", alpha=1.0 if share else 0.45)
    ax.set_xlim(-0.5, n - 0.5)
    ax.set_xticks(
        range(n),
        [_short(name) for name in names],
        rotation=35,
        ha="left",
        rotation_mode="anchor",
        parse_math=False,
    )
    ax.xaxis.tick_top()
    _name_rows(ax, names)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return ax


def bars(values, ax=None, *, x_label="", colours=None):
    """Draw a group of bars for each row, a bar a part, with its number.

    Parameters
    ----------
    values : dict of str -> dict of str -> float
        Row, then part. A part may be missing.
    ax : matplotlib.axes.Axes or None, default=None
        None makes new ones.
    x_label : str
    colours : dict of str -> colour, default=None
        Of the parts.

    Returns
    -------
    ax : matplotlib.axes.Axes

    Examples
    --------
    >>> ax = bars({"entropy": {"fit": 30.0, "query": 2.5}, "random": {"fit": 30.0}})
    >>> [text.get_text() for text in ax.texts]
    ['fit 30', 'fit 30', 'query 2.5']
    """
    ax = new_axes(6.4, 1.0 + 0.5 * len(values)) if ax is None else ax
    parts = list(dict.fromkeys(part for row in values.values() for part in row))
    height = 0.76 / max(len(parts), 1)
    for k, part in enumerate(parts):
        colour = (colours or {}).get(part, COLOURS[k % len(COLOURS)])
        for place, row in enumerate(values.values()):
            value = row.get(part, np.nan)
            if not np.isfinite(value):
                continue
            y = place + (k - (len(parts) - 1) / 2) * height
            ax.barh(y, value, 0.85 * height, color=colour, linewidth=0)
            ax.annotate(
                f"{part} {_three_digits(value)}",
                (value, y),
                xytext=(4, 0),
                va="center",
                textcoords="offset points",
                parse_math=False,
                fontsize="small",
            )
    _name_rows(ax, values)
    _plain(ax, "x")
    ax.set_xlim(0, 1.35 * ax.get_xlim()[1])  # room for what is written beside the bars
    ax.set_xlabel(x_label, parse_math=False)
    return ax


def _three_digits(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


# -- parts of them --------------------------------------------------------------------------------


def mean_interval(values, confidence=0.95):
    """Mean over seeds, with Student's t interval.

    Parameters
    ----------
    values : array-like of shape (n_seeds, n_rounds), float
        Seeds without any value do not count; where one of the others is missing there is no mean,
        since one over fewer seeds would jump.
    confidence : float, default=0.95
        In (0, 1).

    Returns
    -------
    mean, low, high : ndarray of shape (n_rounds,), float
        NaN where there is none; one seed has no interval.

    Examples
    --------
    >>> mean, low, high = mean_interval([[60.0, 70.0], [62.0, np.nan], [np.nan, np.nan]])
    >>> mean.tolist(), [round(float(low[0]), 1), round(float(high[0]), 1)]
    ([61.0, nan], [48.3, 73.7])
    """
    from scipy import stats

    check_number("confidence", confidence, 0, 1, open_low=True)
    values = np.atleast_2d(np.asarray(values, dtype=float))
    values = values[np.isfinite(values).any(axis=1)]
    if len(values) == 0:
        return (np.full(values.shape[1], np.nan),) * 3
    mean = values.mean(axis=0)
    if len(values) == 1:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * error
    return mean, mean - half, mean + half


def _on_one_axis(curves, x):
    x = np.asarray(x, dtype=float)
    found = {}
    for name, values in curves.items():
        found[name] = np.atleast_2d(np.asarray(values, dtype=float))
        if found[name].shape[1] != len(x):
            rule = f"of {len(x)} rounds, as x"
            raise ValueError(message(f"curves[{name!r}]", rule, found[name].shape[1]))
    return x, found


def _at_equal_x(x, y):
    """The curves of seeds that differ in x on one axis: where all of them are."""
    whole = [
        (xs[there], ys[there])
        for xs, ys, there in zip(x, y, np.isfinite(x) & np.isfinite(y), strict=True)
        if there.any()
    ]
    # Parts of images can leave a cost as it is: the last score at that cost counts.
    whole = [(xs[keep], ys[keep]) for xs, ys in whole for keep in [np.diff(xs, append=np.inf) > 0]]
    if not whole:
        return np.empty(0), np.empty((1, 0))
    low, high = max(xs[0] for xs, _ in whole), min(xs[-1] for xs, _ in whole)
    at = np.unique(np.concatenate([xs[(xs >= low) & (xs <= high)] for xs, _ in whole]))
    return at, np.array([np.interp(at, xs, ys) for xs, ys in whole])


def _styles(names, given):
    """Colour, marker and line of each row: what was given for it, else the next."""
    usual = styles_of(names)
    return {
        name: tuple((mine or {}).get(name, own[name]) for mine, own in zip(given, usual))
        for name in names
    }


def _draw_curves(ax, curves, styles, confidence, seeds, shown=()):
    """Means, bands and seeds; where the means end. The y axis also has the values in `shown`."""
    ends, limits, bands = [], [np.asarray(shown, dtype=float)], [np.empty((2, 0))]
    faint = min(0.14, 0.56 / max(len(curves), 1))  # where many overlap, all stay seen
    for name, (colour, marker, line) in _styles(curves, styles).items():
        x, y = curves[name]
        begun = np.isfinite(y).any(axis=1)
        at, values = np.nanmax(np.where(np.isfinite(x), x, -np.inf), axis=0), y
        at[np.isinf(at)] = np.nan  # a round that no seed has
        if (x < at).any():  # seeds differ in x
            at, values = _at_equal_x(x, y)
        mean, low, high = mean_interval(values, confidence or 0.95)
        ax.plot(
            at,
            mean,
            color=colour,
            label=name,
            linewidth=2,
            linestyle=line,
            marker=marker,
            markersize=4.5,
            clip_on=False,
            zorder=3,
            markevery=_some(len(at), x.shape[1]),
        )
        limits += [mean]
        if begun.sum() > 1 and seeds:
            for xs, ys in zip(x[begun], y[begun], strict=True):
                ax.plot(xs, ys, color=colour, linewidth=0.8, alpha=0.45, zorder=2, label="_seed")
            limits += [y.ravel()]
        if confidence is not None and np.isfinite(low).any():
            before = ax.dataLim.frozen()  # few seeds have bands that would press the curves flat
            ax.fill_between(at, low, high, color=colour, alpha=faint, linewidth=0, zorder=1)
            if len(curves) > _FEW:
                edge = {"color": colour, "linewidth": 0.6, "alpha": 0.4, "linestyle": line}
                ax.plot(at, low, label="_band", zorder=1, **edge)
                ax.plot(at, high, label="_band", zorder=1, **edge)
            ax.dataLim.set(before)
            bands += [np.stack([low, high])]
            if not seeds:
                limits += [y.ravel()]
        last = np.flatnonzero(np.isfinite(mean))
        if len(last):
            ends.append((mean[last[-1]], at[last[-1]], name, colour))
    _limit(ax, np.concatenate(limits), np.concatenate(bands, axis=1))
    ax.margins(x=0.02)
    return ends


def _limit(ax, values, bands):
    """Limits of y that hold the values, and of the bands what does not press the curves flat."""
    values = values[np.isfinite(values)]
    if not len(values):
        return
    low, high = values.min(), values.max()
    near = (bands[0] >= low - (high - low)) & (bands[1] <= high + (high - low))
    values = np.concatenate([values, *bands[:, near]])
    room = 0.08 * (np.ptp(values) or 1.0)
    ax.set_ylim(values.min() - room, values.max() + room)


def _some(n, n_rounds):
    """Markers on about as many points as there are rounds."""
    return max(1, round(n / max(n_rounds, 1)))


def _draw_references(ax, references):
    """A dotted line at each, its name above it at the left; at the edge where it is far off."""
    if not references:
        return
    low, high = ax.get_ylim()
    values = {name: float(np.nanmean(v)) for name, v in references.items() if np.isfinite(v).any()}
    span = high - low
    near = {k: v for k, v in values.items() if low - 0.4 * span <= v <= high + 0.4 * span}
    far = {True: [], False: []}  # above, below
    for name, value in values.items():
        if name not in near:
            far[value > high].append(f"{name} {value:.1f}")
    if near:
        low, high = min(low, *near.values()), max(high, *near.values())
        room = 0.05 * (high - low)
        # Below a line at the foot there is room for the words about what is lower still.
        ax.set_ylim(low - (2 * room if far[False] else room), high + 2 * room)
    low, high = ax.get_ylim()
    placed = -np.inf
    inside = ax.get_yaxis_transform()
    for name, value in sorted(near.items(), key=lambda item: item[1]):
        ax.axhline(value, color=_soft(), linewidth=1.2, linestyle=(0, (1, 2)), zorder=1)
        placed = max(value, placed + 0.085 * (high - low))
        right = _is_freer_on_the_right(ax, placed + 0.03 * (high - low))
        ax.text(
            0.99 if right else 0.01,
            placed,
            f"{name} {value:.1f}",
            transform=inside,
            color=_soft(),
            va="bottom",
            ha="right" if right else "left",
            fontsize="small",
            parse_math=False,
        )
    for above, texts in far.items():
        if texts:
            arrow = "\N{UPWARDS ARROW}" if above else "\N{DOWNWARDS ARROW}"
            ax.text(
                0.99,
                0.985 if above else 0.015,
                f"{arrow} {', '.join(texts)}",
                color=_soft(),
                transform=ax.transAxes,
                va="top" if above else "bottom",
                ha="right",
                fontsize="small",
                parse_math=False,
            )


def _is_freer_on_the_right(ax, y):
    """Whether curves keep farther from a height in the last quarter of the x axis than in the
    first."""
    to_data = (ax.transScale + ax.transLimits).inverted()
    ends = to_data.transform([(0, 0), (0.25, 0), (0.75, 0), (1, 0)])[:, 0]
    room = []
    for low, high in (ends[:2], ends[2:]):
        nearest = np.inf
        for line in ax.lines:
            at, heights = np.asarray(line.get_data(), dtype=float)
            there = np.isfinite(at) & np.isfinite(heights)
            if line.get_linewidth() < 2 or not there.any():
                continue  # a seed, or a line that only helps
            inside = np.interp(np.linspace(low, high, 9), at[there], heights[there])
            nearest = min(nearest, np.abs(inside - y).min())
        room.append(nearest)
    return room[1] > room[0]


def _finish(ax, x_label, y_label):
    from matplotlib.ticker import MaxNLocator

    ax.set_xlabel(x_label, parse_math=False)
    ax.set_ylabel(y_label, parse_math=False)
    _plain(ax, "y")
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))


def _plain(ax, grid):
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.grid(axis=grid, linewidth=0.6, alpha=0.5)
    ax.set_axisbelow(True)
    ax.tick_params(length=0, pad=6)


def _tick_rounds(ax, x):
    if len(x) <= 12:
        ax.set_xticks(x, [f"{value:g}" for value in x])


def _name_rows(ax, names):
    """Names of the rows on the left, the first on top."""
    names = [_short(str(name)) for name in names]
    ax.set_yticks(range(len(names)), names, parse_math=False)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.spines["left"].set_visible(False)


def _short(name, most=28):
    return name if len(name) <= most else name[: most - 1] + "…"


def _soft():
    """The colour of lines and words that only help: as the labels of the axes."""
    import matplotlib

    return matplotlib.rcParams["axes.labelcolor"]


def _name_ends(ax, ends, signed=False, apart=0.075):
    """Write each curve's name beside its last point, moved apart where they would touch."""
    low, high = ax.get_ylim()
    apart = min(apart, 1.0 / max(len(ends), 1))
    places, placed = [], -np.inf
    for y, x, name, colour in sorted(ends, key=lambda end: (end[0], end[2])):
        placed = max(y, placed + apart * (high - low))
        places.append([placed, y, x, name, colour])
    over = placed - high  # pushed up out of the axes: all that hang together come down
    for k in range(len(places) - 1, -1, -1):
        if over <= 0:
            break
        places[k][0] = min(places[k][0], high - (len(places) - 1 - k) * apart * (high - low))
    points = ax.bbox.height * 72 / ax.figure.dpi / (high - low)
    moved = any(abs(placed - y) * points > 3 for placed, y, *_ in places)
    kind = ".1f" if any(abs(y) >= 1 for _, y, *_ in places) else ".3g"
    for placed, y, x, name, colour in places:
        # Where names have moved, a thin line leads from each curve to its own.
        leader = {"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 5}
        ax.annotate(
            f"{_short(name)} {y:{'+' if signed else ''}{kind}}",
            (x, y),
            xytext=(28 if moved else 10, (placed - y) * points),
            textcoords="offset points",
            color=colour,
            va="center",
            annotation_clip=False,
            parse_math=False,
            arrowprops={**leader, "relpos": (0, 0.5)} if moved else None,
        )
