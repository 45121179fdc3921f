"""What a trained model is worth: accuracy with its interval, reports, mistakes, and a reading of its curves.

Works on plain arrays and imports no TensorFlow. Labels and probabilities that do not belong together raise ValueError.
Introduced in lesson 02.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from IPython.display import display
from sklearn import metrics

FIGURES_MIME_TYPE = "application/vnd.transfer-learning-course.figures+json"
_Z95 = 1.959963984540054


@dataclasses.dataclass(frozen=True)
class Proportion:
    """``correct`` of ``total`` with the 95 % Wilson score interval of the rate behind them."""

    correct: int
    total: int

    def __post_init__(self):
        if not 0 <= self.correct <= self.total or self.total == 0:
            raise ValueError(f"{self.correct} of {self.total} is no proportion: give 0 <= correct <= total, total > 0.")

    @property
    def value(self) -> float:
        """The proportion, in [0, 1]."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end of the 95 % interval (Wilson, 1927), in [0, 1]."""
        n, p, z2 = self.total, self.value, _Z95**2
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = _Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))  # rounding must not cut off p itself

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.1%} (95 % interval {low:.1%} to {high:.1%}, {self.correct} of {self.total})"


def accuracy(labels: np.ndarray, probabilities: np.ndarray) -> Proportion:
    """Top-1 accuracy.

    Args:
        labels: True classes, ``(n,)`` integers.
        probabilities: Predicted probabilities or logits, ``(n, classes)``.

    Raises:
        ValueError: if the lengths differ, or a label is no class.
    """
    labels, probabilities = _checked(labels, probabilities)
    return Proportion(int((probabilities.argmax(axis=1) == labels).sum()), len(labels))


def accuracy_by_class(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> dict[str, Proportion]:
    """Top-1 accuracy of each class that has images, by name: how many of its images were recognised."""
    counts = confusion(labels, probabilities)
    if len(class_names) != len(counts):
        raise ValueError(f"{len(class_names)} names were given for {len(counts)} classes: give one each.")
    return {
        name: Proportion(int(row[i]), int(row.sum()))
        for i, (name, row) in enumerate(zip(class_names, counts, strict=True))
        if row.sum()
    }


def confusion(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Counts of true class (rows) against predicted class (columns), ``(classes, classes)`` integers."""
    labels, probabilities = _checked(labels, probabilities)
    classes = np.arange(probabilities.shape[1])
    return metrics.confusion_matrix(labels, probabilities.argmax(axis=1), labels=classes)


def report(labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]) -> pd.DataFrame:
    """Precision, recall, F1 and number of images of each class, and their mean over the classes."""
    labels, probabilities = _checked(labels, probabilities)
    if len(class_names) != probabilities.shape[1]:
        raise ValueError(f"{len(class_names)} names were given for {probabilities.shape[1]} classes: give one each.")
    *rates, support = metrics.precision_recall_fscore_support(
        labels, probabilities.argmax(axis=1), labels=np.arange(len(class_names)), zero_division=0
    )
    table = pd.DataFrame(dict(zip(("precision", "recall", "F1"), rates, strict=True)), index=list(class_names))
    table.loc["mean"] = table.mean()
    return table.round(3).assign(images=[*support, support.sum()])


def most_confident_mistakes(labels: np.ndarray, probabilities: np.ndarray, most: int = 8) -> np.ndarray:
    """Positions of the wrong predictions with the highest probability, surest first, at most ``most``."""
    labels, probabilities = _checked(labels, probabilities)
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:most]


def read_curves(history: Mapping[str, Sequence[float]]) -> str:
    """Describe learning curves in sentences computed from them: how fast, which gap, whether they still rise.

    Args:
        history: ``History.history`` of a Keras ``fit`` with ``accuracy`` and ``val_accuracy``.
    """
    train, validation = np.array(history["accuracy"]), np.array(history["val_accuracy"])
    reached = 1 + int(np.argmax(validation >= 0.9 * validation.max()))
    gap = train[-1] - validation[-1]
    if len(validation) > 1:
        last_step = validation[-1] - validation[-2]
        trend = "no longer rises" if last_step < 0.005 else "still rises"
        plateau = f"changed by {100 * last_step:+.1f} points in the last epoch; it {trend}"
    else:
        plateau = "shows no trend after one epoch"
    return (
        f"Speed: after epoch {reached} of {len(train)}, validation accuracy had nine tenths of its best value, "
        f"{validation.max():.1%}.\n"
        f"Gap: at the end training accuracy is {train[-1]:.1%}, validation accuracy {validation[-1]:.1%}: "
        f"{100 * gap:+.1f} points.\n"
        f"Plateau: validation accuracy {plateau}."
    )


def show_figures(**figures: object) -> None:
    """Show a lesson's main figures, and hand them to ``make run``, which prints them in its table.

    Args:
        figures: Name to value; anything but a number is shown as text.
    """
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in figures.items()}
    values = {name: value if isinstance(value, (int, float)) else str(value) for name, value in plain.items()}
    lines = [f"{name.replace('_', ' ')}: {value}" for name, value in values.items()]
    display({"text/plain": "\n".join(lines), FIGURES_MIME_TYPE: values}, raw=True)


def _checked(labels, probabilities):
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            f"Labels of shape {labels.shape} and probabilities of shape {probabilities.shape} do not belong together: "
            "give (n,) and (n, classes)."
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < probabilities.shape[1]:
        raise ValueError(
            f"Labels run from {labels.min()} to {labels.max()}, but there are {probabilities.shape[1]} classes: "
            "give 0 to classes - 1."
        )
    return labels, probabilities
