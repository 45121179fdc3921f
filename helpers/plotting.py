"""Every figure of the course. Functions take plain values and return Axes; none calls ``plt.show``."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patches import Rectangle
from matplotlib.transforms import offset_copy

from helpers.evaluation import Proportion

if TYPE_CHECKING:
    from helpers.evaluation import Difference

# Okabe and Ito's colours, told apart by colour-blind readers too: right is blue, wrong is vermilion (darker than
# theirs, so that text in it stands out from white by 4.8 to 1)
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#C04F00",
    "#CC79A7",
    "#56B4E9",
    "#777777",
)
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, GREY)
_MARKERS = "os^Dv*PX<>"  # one for each class


def image_grid(
    images: np.ndarray, titles: Sequence[str] | None = None, columns: int = 5, colours: Sequence[str] | None = None
) -> np.ndarray:
    """Show images in a grid.

    Args:
        images: RGB in [0, 255], ``(n, height, width, 3)``, any number type; where n is 0, nothing is drawn.
        titles: One a picture.
        columns: Pictures in a row.
        colours: Colour of each title.

    Returns:
        The Axes, ``(n,)``.

    Raises:
        ValueError: if the pixels lie in [0, 1], which would be drawn black.
    """
    images = np.asarray(images)
    if not len(images):
        return np.array([], dtype=object)
    if images.dtype.kind == "f" and images.size and 0 < images.max() <= 1:
        raise ValueError(f"These pixels lie in [0, 1], the largest is {images.max():.2f}: multiply them by 255.")
    rows = -(-len(images) // columns)
    title_lines = max((title.count("\n") + 1 for title in titles), default=0) if titles is not None else 0
    width = 1.75 if columns == 4 else 1.4  # inches: four fill a page's width too, and their titles have room
    height = 0.85 * (1.65 + 0.22 * title_lines) + width - 1.4
    figure, grid = plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    used = grid.ravel()[: len(images)]
    for i, (axes, image) in enumerate(zip(used, images, strict=True)):
        axes.imshow(image.clip(0, 255).astype(np.uint8))
        if titles is not None:
            axes.set_title(_plain(titles[i]), fontsize=9, color=colours[i] if colours is not None else "black")
    figure.tight_layout()
    return used


def predictions(
    images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str], columns: int = 4
) -> np.ndarray:
    """Show images with what the model says and how sure it is: blue where right, vermilion with the truth where wrong.

    Args:
        images: RGB in [0, 255], ``(n, height, width, 3)``.
        labels: True classes, ``(n,)``.
        probabilities: Predicted probabilities, ``(n, classes)``.
        class_names: Names of the classes.
        columns: Pictures in a row.

    Returns:
        The Axes, ``(n,)``.
    """
    titles, colours = [], []
    for label, row in zip(labels, probabilities, strict=True):
        said = row.argmax()
        title = f"{_spoken(class_names[said])} {row[said]:.0%}"
        titles.append(title if said == label else f"predicted {title}\ntrue {_spoken(class_names[label])}")
        colours.append(BLUE if said == label else VERMILION)
    return image_grid(images, titles, columns, colours)


def learning_curves(
    history: Mapping[str, Sequence[float]],
    title: str = "",
    fine_tuning_after: int | None = None,
    best_epoch: int | None = None,
) -> np.ndarray:
    """Plot accuracy and loss against epoch, for training and validation images.

    Args:
        history: ``History.history`` of a Keras ``fit``; the validation curves are left out where it has none.
        title: Title of the figure.
        fine_tuning_after: Number of epochs before fine-tuning began, marked by a line.
        best_epoch: The epoch, counted from 1, whose weights are kept, marked by a line.

    Returns:
        Two Axes: accuracy, loss.

    Raises:
        ValueError: if accuracy or loss is missing.
    """
    figure, both = plt.subplots(1, 2, figsize=(7, 3.3))
    for axes, name in zip(both, ("accuracy", "loss"), strict=True):
        epochs = np.arange(1, len(_curve(history, name)) + 1)
        marks = dict(markersize=4, markevery=max(1, len(epochs) // 12))
        axes.plot(epochs, history[name], marker="o", linestyle="--", color=ORANGE, label="training", **marks)
        if f"val_{name}" in history:
            axes.plot(epochs, history[f"val_{name}"], marker="s", color=BLUE, label="validation", **marks)
        axes.set(xlabel="epoch", ylabel=name, xticks=_ticks(epochs))
        if fine_tuning_after is not None:
            axes.axvline(fine_tuning_after + 0.5, color=GREY, linestyle=":", label="fine-tuning begins")
        if best_epoch is not None:
            axes.axvline(best_epoch, color=GREY, linestyle="-.", label="weights kept")
    both[0].set_ylim(top=1.02)
    both[1].set_ylim(bottom=0)
    figure.suptitle(title, fontsize=11)
    handles, labels = both[0].get_legend_handles_labels()
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    figure.legend(handles, labels, frameon=False, ncols=len(labels), loc="lower center")
    sns.despine(figure)
    return both


def compare_runs(
    histories: Mapping[str, Mapping[str, Sequence[float]]],
    metric: str = "val_accuracy",
    chance: float | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Plot one metric of several trainings against epoch, named in a legend, told apart by line and marker too.

    Args:
        histories: Name of a training to its ``History.history``.
        metric: Which curve.
        chance: Accuracy of guessing, drawn as a dotted line.
        axes: Where to draw; a new figure by default.

    Raises:
        ValueError: if a training has no such curve.
    """
    axes = axes or plt.subplots(figsize=(7, 3.6))[1]
    longest = max(len(_curve(history, metric, name)) for name, history in histories.items())
    for i, (name, history) in enumerate(histories.items()):
        epochs, style = np.arange(1, len(history[metric]) + 1), ("-", "--", "-.", (0, (5, 1, 1, 1, 1, 1)))[i % 4]
        marks = dict(marker="osD^vP*"[i % 7], markersize=4, markevery=max(1, longest // 12))
        axes.plot(
            epochs, history[metric], color=COLOURS[i % len(COLOURS)], linestyle=style, label=_plain(name), **marks
        )
    if chance is not None:
        axes.axhline(chance, color=GREY, linestyle=":", label=f"guessing, {chance:.0%}")
    axes.set(xlabel="epoch", ylabel=_curve_name(metric), xticks=_ticks(np.arange(1, longest + 1)))
    _legend_beside(axes)
    sns.despine(ax=axes)
    axes.figure.tight_layout()
    return axes


def accuracy_against_images(
    images_per_class: Sequence[int],
    accuracies: Mapping[str, np.ndarray],
    chance: float,
    guesses: Mapping[str, Sequence[float] | None] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Plot accuracy against images per class: each run as a small point, the mean over seeds as a line.

    Args:
        images_per_class: Numbers of images, ``(sizes,)``.
        accuracies: Name of a strategy to its accuracies in [0, 1], ``(seeds, sizes)``.
        chance: Accuracy of guessing, drawn as a dotted line.
        guesses: Name of a strategy to the learner's guesses in [0, 1], one per size, drawn as stars; None draws none.
        axes: Where to draw; a new figure by default.
    """
    axes = axes or plt.subplots(figsize=(7, 4))[1]
    sizes = np.asarray(images_per_class)
    for i, (name, values) in enumerate(accuracies.items()):
        values, colour, marker = np.asarray(values), COLOURS[i % len(COLOURS)], "os^D"[i % 4]
        shifted = sizes * 1.05 ** (i - (len(accuracies) - 1) / 2)  # points beside each other
        axes.plot(np.tile(shifted, len(values)), values.ravel(), marker, color=colour, markersize=3, alpha=0.5)
        line = ("-", "--", "-.", ":")[i % 4]
        axes.plot(shifted, values.mean(axis=0), marker=marker, linestyle=line, color=colour, label=_plain(name))
        if guesses and guesses.get(name) is not None:
            axes.plot(shifted, guesses[name], "*", color=colour, markerfacecolor="none", markersize=13)
    axes.axhline(chance, color=GREY, linestyle=":", label=f"guessing, {chance:.0%}")
    axes.set_xscale("log")
    axes.set_xticks(list(images_per_class), [str(n) for n in images_per_class])
    axes.minorticks_off()
    axes.set(xlabel="training images per class (logarithmic)", ylabel="test accuracy", ylim=(0, 1.02))
    _legend_beside(axes)
    sns.despine(ax=axes)
    axes.figure.tight_layout()
    return axes


def proportions(
    values: Mapping[str, "Proportion"],
    chance: float | None = None,
    guesses: Mapping[str, float | None] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Show accuracies as points with their 95 % intervals, one per row, in the given order from the top.

    Args:
        values: Name to proportion: anything with a ``value`` and an ``interval``, as in ``helpers.evaluation``.
        chance: Accuracy of guessing, drawn as a dotted line.
        guesses: Name to the learner's guess in [0, 1], drawn as a star; None draws none.
        axes: Where to draw; a new figure by default.
    """
    axes = axes or plt.subplots(figsize=(7, 1.2 + 0.34 * len(values)))[1]
    middle = np.array([p.value for p in values.values()])
    low, high = np.array([p.interval for p in values.values()]).T
    rows = np.arange(len(values))
    axes.errorbar(middle, rows, xerr=[middle - low, high - middle], fmt="o", capsize=3, color=BLUE)
    guessed = [(guesses[name], row) for row, name in enumerate(values) if guesses and guesses.get(name) is not None]
    if guessed:
        axes.plot(
            *zip(*guessed, strict=True), "*", color=VERMILION, fillstyle="none", markersize=12, label="your guess"
        )
    if chance is not None:
        axes.axvline(chance, color=GREY, linestyle=":", label=f"guessing, {chance:.0%}")
    if guessed or chance is not None:
        _legend_beside(axes)
    axes.set_yticks(rows, [_spoken(name) for name in values])
    axes.set(xlabel="accuracy", xlim=(0, 1.02), ylim=(len(values) - 0.5, -0.5))
    sns.despine(ax=axes)
    axes.figure.tight_layout()
    return axes


def differences(values: Mapping[str, "Difference"], label: str, axes: Axes | None = None) -> Axes:
    """Show paired differences as points with their 95 % intervals, one per row, filled where 0 lies outside.

    Args:
        values: Name to difference: ``value``, ``interval`` and ``resolved``, as in ``helpers.evaluation``.
        label: What is subtracted from what.
        axes: Where to draw; a new figure by default.
    """
    axes = axes or plt.subplots(figsize=(7, 1.0 + 0.34 * len(values)))[1]
    for row, difference in enumerate(values.values()):
        middle, (low, high) = 100 * difference.value, (100 * end for end in difference.interval)
        fill = BLUE if difference.resolved else "white"
        error = [[middle - low], [high - middle]]
        axes.errorbar(middle, row, xerr=error, fmt="o", capsize=3, color=BLUE, markerfacecolor=fill)
    axes.axvline(0, color=GREY, linestyle=":")
    axes.set_yticks(range(len(values)), [_spoken(name) for name in values])
    axes.set(xlabel=label, ylim=(len(values) - 0.5, -0.5))
    sns.despine(ax=axes)
    axes.figure.tight_layout()
    return axes


def confusion_matrix(counts: np.ndarray, class_names: Sequence[str], axes: Axes | None = None) -> Axes:
    """Show counts of true class (rows) against predicted class (columns), shaded by the share of the row.

    Args:
        counts: ``(classes, classes)`` integers.
        class_names: Names of the classes.
        axes: Where to draw; a new figure by default.

    Raises:
        ValueError: if there is not one name per class.
    """
    counts = np.asarray(counts)
    if counts.shape != (len(class_names), len(class_names)):
        raise ValueError(f"{len(class_names)} names for counts of shape {counts.shape}: give one name per class.")
    side = min(7, 1.8 + 0.45 * len(class_names))
    axes = axes or plt.subplots(figsize=(min(7, side + 0.6), side))[1]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    labels = np.where(counts > 0, counts.astype(str), "")
    names = [_spoken(name) for name in class_names]
    sns.heatmap(
        shares, annot=labels, fmt="", cmap="Blues", vmin=0, vmax=1, square=True, linewidths=0.5,
        cbar_kws={"label": "share of the true class", "shrink": 0.8}, xticklabels=names, yticklabels=names, ax=axes,
    )  # fmt: skip
    axes.set(xlabel="predicted", ylabel="true")
    axes.figure.tight_layout()
    return axes


def feature_maps(maps: Mapping[str, np.ndarray], columns: int = 6) -> np.ndarray:
    """Show some channels of several layers' activations on one image, one row per layer, each channel on its own scale.

    Args:
        maps: Title of a row to activations, ``(height, width, channels)``; the most varied channels are shown, but of
            channels that look alike only one.
        columns: Channels in a row.

    Returns:
        The Axes, ``(rows, columns)``.
    """
    size = (1.15 * columns, 1.45 * len(maps))
    _, grid = plt.subplots(len(maps), columns, figsize=size, squeeze=False, gridspec_kw=dict(wspace=0.06, hspace=0.25))
    for row, (title, activations) in zip(grid, maps.items(), strict=True):
        for axes, channel in zip(row, _most_varied(activations, columns), strict=False):
            axes.imshow(activations[..., channel], cmap="viridis")
        for axes in row:
            axes.set_axis_off()
        row[0].set_title(textwrap.shorten(_plain(title), 80), fontsize=9, loc="left")
    return grid


def _most_varied(activations: np.ndarray, most: int) -> list[int]:
    """Channels that vary most over the places, at most ``most``, no two of them correlated by more than 0.9."""
    places = activations.reshape(-1, activations.shape[-1]).astype(np.float64)
    chosen: list[int] = []
    for channel in np.argsort(-places.std(axis=0), kind="stable"):
        if len(chosen) == most or not places[:, channel].std():
            break
        if all(abs(np.corrcoef(places[:, channel], places[:, other])[0, 1]) <= 0.9 for other in chosen):
            chosen.append(int(channel))
    return chosen


def feature_scatter(
    points: np.ndarray, labels: np.ndarray, class_names: Sequence[str], title: str = "", axes: Axes | None = None
) -> Axes:
    """Show images as points in the plane, by class: features reduced to two numbers by PCA or t-SNE.

    Args:
        points: ``(n, 2)``.
        labels: Class of each point, ``(n,)`` integers.
        class_names: Names of the classes.
        title: Title of the Axes.
        axes: Where to draw; a new figure by default.
    """
    axes = axes or plt.subplots(figsize=(7, 4.5))[1]
    for c, name in enumerate(class_names):
        chosen = np.asarray(labels) == c
        look = dict(marker=_MARKERS[c % 10], color=COLOURS[c % len(COLOURS)], s=22, alpha=0.8, linewidths=0)
        axes.scatter(*np.asarray(points)[chosen].T, label=_spoken(name), **look)
    axes.set(xticks=[], yticks=[], title=title)
    _legend_beside(axes)
    axes.figure.tight_layout()
    return axes


def grad_cam(
    images: np.ndarray,
    heat: np.ndarray,
    titles: Sequence[str],
    columns: int = 4,
    colours: Sequence[str] | None = None,
) -> np.ndarray:
    """Show where a model looks: each photograph, and below it the same in grey with the heat in colour.

    A line surrounds what has at least half of the greatest heat.

    Args:
        images: RGB in [0, 255], ``(n, height, width, 3)``; n at least 1.
        heat: In [0, 1], ``(n, height, width)``, as ``helpers.explain.grad_cam`` returns it.
        titles: One a picture.
        columns: Pictures in a row.
        colours: Colour of each title.

    Returns:
        The Axes, ``(n, 2)``: photograph, heat.
    """
    columns = min(columns, len(images))
    rows = int(np.ceil(len(images) / columns))
    figure, grid = plt.subplots(2 * rows, columns, figsize=(1.72 * columns, 3.8 * rows), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    pairs = grid.reshape(rows, 2, columns).transpose(0, 2, 1).reshape(-1, 2)[: len(images)]
    for i, (above, below) in enumerate(pairs):
        picture = np.asarray(images[i]).clip(0, 255)
        above.imshow(picture.astype(np.uint8))
        above.set_title(_plain(titles[i]), fontsize=9, color=colours[i] if colours is not None else "black")
        below.imshow(picture.mean(axis=-1), cmap="gray", vmin=0, vmax=255)
        below.imshow(heat[i], cmap="inferno", vmin=0, vmax=1, alpha=0.65 * np.asarray(heat[i]))
        if heat[i].max() > 0:
            below.contour(heat[i], levels=[0.5], colors="white", linewidths=1.5)
    figure.tight_layout(h_pad=0.4, w_pad=0.4)
    return pairs


def embedding_map(
    points: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    images: np.ndarray | None = None,
    most: int = 45,
    title: str = "",
    axes: Axes | None = None,
) -> Axes:
    """Show a map of images: a point for each, and thumbnails with their class's colour and marker where there is room.

    Args:
        points: ``(n, 2)``, as ``helpers.explain.embedding`` returns them.
        labels: Class of each point, ``(n,)`` integers.
        class_names: Names of the classes.
        images: RGB in [0, 255], ``(n, height, width, 3)``; no thumbnails by default.
        most: Number of thumbnails.
        title: Title of the Axes.
        axes: Where to draw; a new figure by default.
    """
    axes = axes or plt.subplots(figsize=(7, 5.4))[1]
    feature_scatter(points, labels, class_names, title, axes)
    points = np.asarray(points)
    room = np.ptp(points, axis=0) / 13  # that one thumbnail takes
    shown: list[int] = []
    for i in np.random.default_rng(0).permutation(len(points)) if images is not None else ():
        if len(shown) < most and all(np.any(np.abs(points[i] - points[j]) > room) for j in shown):
            thumbnail = OffsetImage(np.asarray(images[i]).clip(0, 255).astype(np.uint8), zoom=26 / len(images[i]))
            colour = COLOURS[labels[i] % len(COLOURS)]
            frame = dict(edgecolor=colour, linewidth=2)
            axes.add_artist(AnnotationBbox(thumbnail, points[i], pad=0.12, bboxprops=frame))
            corner = offset_copy(axes.transData, axes.figure, x=-13, y=13, units="points")
            look = dict(marker=_MARKERS[labels[i] % 10], color=colour, s=45, edgecolors="white", zorder=6)
            axes.scatter(*points[i], transform=corner, **look)  # tells classes apart in grey too
            shown.append(i)
    return axes


def reliability(confidence: np.ndarray, accuracy: np.ndarray, images: np.ndarray, axes: Axes | None = None) -> Axes:
    """Show how often a model is right against how sure it is, with intervals; on the diagonal both are equal.

    Args:
        confidence: Mean confidence of each bin, ``(bins,)``, as ``helpers.evaluation.calibration`` returns it.
        accuracy: Share of right predictions in each bin.
        images: Number of images in each bin, written beside its point.
        axes: Where to draw; a new figure by default.
    """
    axes = axes or plt.subplots(figsize=(5, 4))[1]
    axes.plot([0, 1], [0, 1], ":", color=GREY, label="as sure as right")
    axes.plot(confidence, accuracy, "o-", color=BLUE, label="the model")
    ends = [Proportion(round(share * n), int(n)).interval for share, n in zip(accuracy, images, strict=True)]
    axes.vlines(confidence, *np.transpose(ends), color=BLUE, linewidth=1, label="95 % interval")
    for x, y, n in zip(confidence, accuracy, images, strict=True):
        axes.annotate(str(n), (x, y), (6, -4), textcoords="offset points", fontsize=9)
    axes.set(xlabel="mean confidence", ylabel="share that is right", xlim=(0, 1.04), ylim=(-0.02, 1.04))
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    sns.despine(ax=axes)
    axes.figure.tight_layout()
    return axes


def rate_range(rates: np.ndarray, losses: np.ndarray, suggestion: float, axes: Axes | None = None) -> Axes:
    """Show the loss against a growing learning rate, with the suggested rate marked.

    Args:
        rates: Learning rates, ``(steps,)``, as ``helpers.callbacks.rate_range_test`` returns them.
        losses: The loss at each.
        suggestion: The rate to mark.
        axes: Where to draw; a new figure by default.
    """
    axes = axes or plt.subplots(figsize=(7, 3))[1]
    axes.plot(rates, losses, color=BLUE)
    axes.axvline(suggestion, color=VERMILION, linestyle="--", label=f"suggested: {suggestion:.1e}")
    axes.set(xscale="log", xlabel="learning rate (logarithmic)", ylabel="training loss")
    _legend_beside(axes)
    sns.despine(ax=axes)
    axes.figure.tight_layout()
    return axes


_STATES = {  # what a part of a model does in training -> fill, hatch, words
    "frozen": ("#D9D9D9", "///", "frozen"),
    "trained": (ORANGE, "", "trained"),
    "fixed": ("white", "", "nothing to train"),
}


def parts(stages: Sequence[tuple[str, str]], kept_after: int | None = None, axes: Axes | None = None) -> Axes:
    """Draw a model as boxes from left to right: what is frozen, what is trained, and where outputs are kept.

    Args:
        stages: Label and state of each box; the state is ``"frozen"``, ``"trained"`` or ``"fixed"`` (no weights).
        kept_after: Position, from 0, of the box whose outputs are computed once and kept.
        axes: Where to draw; a new figure by default.

    Raises:
        ValueError: if a state is unknown.
    """
    if unknown := [state for _, state in stages if state not in _STATES]:
        raise ValueError(f"There is no state {unknown[0]!r}: choose from {', '.join(_STATES)}.")
    axes = axes or plt.subplots(figsize=(7, 1.9))[1]
    for i, (label, state) in enumerate(stages):
        fill, hatch, _ = _STATES[state]
        axes.add_patch(Rectangle((i, 0), 0.74, 1, facecolor=fill, hatch=hatch, edgecolor="black", linewidth=1.2))
        white = dict(facecolor=fill, edgecolor="none", pad=1.5)
        axes.text(i + 0.37, 0.5, _plain(label), ha="center", va="center", fontsize=9, bbox=white)
        if i + 1 < len(stages):
            axes.annotate("", (i + 1, 0.5), (i + 0.74, 0.5), arrowprops=dict(arrowstyle="-|>", color="black"))
    if kept_after is not None:
        axes.axvline(kept_after + 0.87, ymin=0.12, ymax=0.82, color=BLUE, linestyle="--", linewidth=2)
        axes.text(kept_after + 0.87, 1.28, "kept here", color=BLUE, ha="center", va="center", fontsize=9)
    used = [state for state in _STATES if state in {state for _, state in stages}]
    marks = [Rectangle((0, 0), 1, 1, facecolor=_STATES[s][0], hatch=_STATES[s][1], edgecolor="black") for s in used]
    words = [_STATES[state][2] for state in used]
    axes.legend(marks, words, frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 0.08))
    axes.set(xlim=(-0.1, len(stages) - 0.16), ylim=(-0.25, 1.45))
    axes.set_axis_off()
    return axes


def block(steps: Sequence[str], shortcut: str = "unchanged", axes: Axes | None = None) -> Axes:
    """Draw a residual block: steps from left to right, and a shortcut around them that is added at the end.

    Args:
        steps: What each step does.
        shortcut: What stands on the shortcut.
        axes: Where to draw; a new figure by default.
    """
    axes = axes or plt.subplots(figsize=(7, 2.1))[1]
    last = len(steps) + 0.35
    arrow = dict(arrowstyle="-|>", color="black")
    for i, step in enumerate(steps):
        axes.add_patch(Rectangle((i + 0.4, 0), 0.78, 1, facecolor="#E8EEF4", edgecolor="black", linewidth=1.2))
        axes.text(i + 0.79, 0.5, _plain(step), ha="center", va="center", fontsize=9)
        axes.annotate("", (i + 0.4, 0.5), (i + 0.18, 0.5), arrowprops=arrow)
    axes.annotate("", (last, 0.5), (last - 0.17, 0.5), arrowprops=arrow)
    axes.text(last + 0.1, 0.5, "+", ha="center", va="center", fontsize=14, bbox=dict(boxstyle="circle", fc="white"))
    axes.annotate("", (last + 0.55, 0.5), (last + 0.24, 0.5), arrowprops=arrow)
    axes.plot([0.28, 0.28, last + 0.1], [0.5, 1.55, 1.55], color=BLUE, linewidth=1.5)
    axes.annotate("", (last + 0.1, 0.78), (last + 0.1, 1.56), arrowprops=dict(arrowstyle="-|>", color=BLUE, lw=1.5))
    axes.text(last / 2, 1.64, shortcut, ha="center", va="bottom", color=BLUE, fontsize=9)
    axes.text(0.0, 0.5, "input", ha="center", va="center", fontsize=9)
    axes.text(last + 0.85, 0.5, "output", ha="center", va="center", fontsize=9)
    axes.set(xlim=(-0.25, last + 1.15), ylim=(-0.15, 2.1))
    axes.set_axis_off()
    return axes


def _curve(history: Mapping[str, Sequence[float]], metric: str, name: str = "the training") -> Sequence[float]:
    if metric not in history:
        raise ValueError(f"The history of {name} has no {metric!r}: it has {', '.join(history) or 'nothing'}.")
    return history[metric]


def _curve_name(metric: str) -> str:
    return f"validation {metric.removeprefix('val_')}" if metric.startswith("val_") else f"training {metric}"


def _plain(text: str) -> str:
    """A text that Matplotlib does not take for mathematics."""
    return text.replace("$", r"\$")


def _spoken(name: str) -> str:
    return _plain(name.replace("_", " "))


def _legend_beside(axes: Axes) -> None:
    axes.legend(frameon=False, bbox_to_anchor=(1.01, 0.5), loc="center left", fontsize=9)


def _ticks(epochs: np.ndarray) -> np.ndarray:
    return epochs[:: max(1, -(-len(epochs) // 10))]
