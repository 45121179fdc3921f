"""Every figure of the course. Functions take plain values and return Axes; none calls ``plt.show``."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

if TYPE_CHECKING:
    from helpers.evaluation import Proportion

# Okabe and Ito's colours, told apart by colour-blind readers too: right is blue, wrong is vermilion
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#777777",
)
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, GREY)


def image_grid(
    images: np.ndarray, titles: Sequence[str] | None = None, columns: int = 5, colours: Sequence[str] | None = None
) -> np.ndarray:
    """Show images in a grid.

    Args:
        images: RGB in [0, 255], ``(n, height, width, 3)``, any number type; n at least 1.
        titles: One a picture.
        columns: Pictures in a row.
        colours: Colour of each title.

    Returns:
        The Axes, ``(n,)``.
    """
    rows = -(-len(images) // columns)
    title_lines = max((title.count("\n") + 1 for title in titles), default=0) if titles is not None else 0
    height = 1.65 + 0.22 * title_lines
    figure, grid = plt.subplots(rows, columns, figsize=(1.7 * columns, height * rows), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    used = grid.ravel()[: len(images)]
    for i, (axes, image) in enumerate(zip(used, images, strict=True)):
        axes.imshow(np.asarray(image).clip(0, 255).astype(np.uint8))
        if titles is not None:
            axes.set_title(titles[i], fontsize=9, color=colours[i] if colours is not None else "black")
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
        title = f"{class_names[said]} {row[said]:.0%}"
        titles.append(title if said == label else f"{title}\nis {class_names[label]}")
        colours.append(BLUE if said == label else VERMILION)
    return image_grid(images, titles, columns, colours)


def learning_curves(
    history: Mapping[str, Sequence[float]], title: str = "", fine_tuning_after: int | None = None
) -> np.ndarray:
    """Plot accuracy and loss against epoch, for training and validation images.

    Args:
        history: ``History.history`` of a Keras ``fit``; the validation curves are left out where it has none.
        title: Title of the figure.
        fine_tuning_after: Number of epochs before fine-tuning began, marked by a line.

    Returns:
        Two Axes: accuracy, loss.
    """
    figure, both = plt.subplots(1, 2, figsize=(9, 3.4))
    for axes, name in zip(both, ("accuracy", "loss"), strict=True):
        epochs = np.arange(1, len(history[name]) + 1)
        axes.plot(epochs, history[name], marker="o", color=ORANGE, label="training")
        if f"val_{name}" in history:
            axes.plot(epochs, history[f"val_{name}"], marker="s", color=BLUE, label="validation")
        axes.set(
            xlabel="epoch", ylabel=name, xticks=_ticks(epochs), ylim=(0, 1.02) if name == "accuracy" else (0, None)
        )
        if fine_tuning_after is not None:
            axes.axvline(fine_tuning_after + 0.5, color=GREY, linestyle="--", label="fine-tuning begins")
        axes.legend(frameon=False)
    figure.suptitle(title)
    figure.tight_layout()
    sns.despine(figure)
    return both


def compare_runs(
    histories: Mapping[str, Mapping[str, Sequence[float]]],
    metric: str = "val_accuracy",
    chance: float | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Plot one metric of several trainings against epoch, named in a legend.

    Args:
        histories: Name of a training to its ``History.history``.
        metric: Which curve.
        chance: Accuracy of guessing, drawn as a dotted line.
        axes: Where to draw; a new figure by default.
    """
    axes = axes or plt.subplots(figsize=(7.5, 4))[1]
    longest = max(len(history[metric]) for history in histories.values())
    for (name, history), colour in zip(histories.items(), _colours(len(histories)), strict=True):
        axes.plot(np.arange(1, len(history[metric]) + 1), history[metric], marker="o", color=colour, label=name)
    if chance is not None:
        axes.axhline(chance, color=GREY, linestyle=":", label=f"guessing, {chance:.0%}")
    axes.set(xlabel="epoch", ylabel=metric.replace("val_", "validation "), xticks=_ticks(np.arange(1, longest + 1)))
    if "accuracy" in metric:
        axes.set_ylim(0, 1.02)
    _legend_beside(axes)
    sns.despine(ax=axes)
    axes.figure.tight_layout()
    return axes


def accuracy_against_images(
    images_per_class: Sequence[int], accuracies: Mapping[str, np.ndarray], chance: float, axes: Axes | None = None
) -> Axes:
    """Plot test accuracy against images a class (logarithmic): mean over seeds, bars from smallest to largest.

    Args:
        images_per_class: Numbers of images, ``(sizes,)``.
        accuracies: Name of a strategy to its accuracies in [0, 1], ``(seeds, sizes)``.
        chance: Accuracy of guessing, drawn as a dotted line.
        axes: Where to draw; a new figure by default.
    """
    axes = axes or plt.subplots(figsize=(7.5, 4.2))[1]
    for i, ((name, values), colour) in enumerate(zip(accuracies.items(), _colours(len(accuracies)), strict=True)):
        values = np.asarray(values)
        mean = values.mean(axis=0)
        bars = np.stack([mean - values.min(axis=0), values.max(axis=0) - mean])
        shifted = np.asarray(images_per_class) * 1.04 ** (i - (len(accuracies) - 1) / 2)  # bars beside each other
        axes.errorbar(shifted, mean, yerr=bars, marker="os^D"[i % 4], capsize=3, color=colour, label=name)
    axes.axhline(chance, color=GREY, linestyle=":", label=f"guessing, {chance:.0%}")
    axes.set_xscale("log")
    axes.set_xticks(list(images_per_class), [str(n) for n in images_per_class])
    axes.minorticks_off()
    axes.set(xlabel="training images per class", ylabel="test accuracy", ylim=(0, 1.02))
    _legend_beside(axes)
    sns.despine(ax=axes)
    axes.figure.tight_layout()
    return axes


def proportions(values: Mapping[str, "Proportion"], chance: float | None = None, axes: Axes | None = None) -> Axes:
    """Show accuracies as points with their 95 % intervals, one a row, in the given order from the top.

    Args:
        values: Name to proportion: anything with a ``value`` and an ``interval``, as in ``helpers.evaluation``.
        chance: Accuracy of guessing, drawn as a dotted line.
        axes: Where to draw; a new figure by default.
    """
    axes = axes or plt.subplots(figsize=(6.5, 1.2 + 0.32 * len(values)))[1]
    middle = np.array([p.value for p in values.values()])
    low, high = np.array([p.interval for p in values.values()]).T
    rows = np.arange(len(values))
    axes.errorbar(middle, rows, xerr=[middle - low, high - middle], fmt="o", capsize=3, color=BLUE)
    if chance is not None:
        axes.axvline(chance, color=GREY, linestyle=":", label=f"guessing, {chance:.0%}")
        _legend_beside(axes)
    axes.set_yticks(rows, [name.replace("_", " ") for name in values])
    axes.invert_yaxis()
    axes.set(xlabel="accuracy", xlim=(0, 1.02))
    sns.despine(ax=axes)
    axes.figure.tight_layout()
    return axes


def heat_map(table: pd.DataFrame, label: str, axes: Axes | None = None) -> Axes:
    """Show a table of shares in [0, 1] as colours, with each share in per cent.

    Args:
        table: Its index and columns are named: the names label the axes.
        label: What the shares are.
        axes: Where to draw; a new figure by default.
    """
    axes = axes or plt.subplots(figsize=(2.6 + 1.1 * table.shape[1], 1.4 + 0.7 * table.shape[0]))[1]
    sns.heatmap(table, annot=True, fmt=".1%", cmap="viridis", linewidths=0.5, cbar_kws={"label": label}, ax=axes)
    axes.tick_params(axis="y", rotation=0)
    axes.figure.tight_layout()
    return axes


def confusion_matrix(counts: np.ndarray, class_names: Sequence[str], axes: Axes | None = None) -> Axes:
    """Show counts of true class (rows) against predicted class (columns), shaded by the share of the row.

    Args:
        counts: ``(classes, classes)`` integers.
        class_names: Names of the classes.
        axes: Where to draw; a new figure by default.
    """
    counts = np.asarray(counts)
    side = 1.8 + 0.45 * len(class_names)
    axes = axes or plt.subplots(figsize=(side + 0.6, side))[1]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    labels = np.where(counts > 0, counts.astype(str), "")
    names = [name.replace("_", " ") for name in class_names]
    sns.heatmap(
        shares, annot=labels, fmt="", cmap="Blues", vmin=0, vmax=1, square=True, linewidths=0.5,
        cbar_kws={"label": "share of the true class", "shrink": 0.8}, xticklabels=names, yticklabels=names, ax=axes,
    )  # fmt: skip
    axes.set(xlabel="predicted", ylabel="true")
    axes.figure.tight_layout()
    return axes


def feature_maps(maps: Mapping[str, np.ndarray], columns: int = 8) -> np.ndarray:
    """Show some channels of several layers' activations on one image, one row a layer, each channel on its own scale.

    Args:
        maps: Title of a row to activations, ``(height, width, channels)``; the most varied channels are shown.
        columns: Channels in a row.

    Returns:
        The Axes, ``(rows, columns)``.
    """
    size = (1.25 * columns, 1.5 * len(maps))
    _, grid = plt.subplots(len(maps), columns, figsize=size, squeeze=False, layout="compressed")
    for row, (title, activations) in zip(grid, maps.items(), strict=True):
        strongest = np.argsort(-activations.std(axis=(0, 1)), kind="stable")[:columns]
        for axes, channel in zip(row, strongest, strict=False):
            axes.imshow(activations[..., channel], cmap="viridis")
        for axes in row:
            axes.set_axis_off()
        row[0].set_title(textwrap.shorten(title, 80), fontsize=9, loc="left").set_in_layout(False)
    return grid


def _legend_beside(axes: Axes) -> None:
    axes.legend(frameon=False, bbox_to_anchor=(1.01, 0.5), loc="center left")


def _colours(number: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(number)]


def _ticks(epochs: np.ndarray) -> np.ndarray:
    return epochs[:: max(1, len(epochs) // 10)]
