"""What a trained model is worth: accuracy with its interval, reports, and mistakes.

Works on plain arrays and imports no TensorFlow. Labels and probabilities that do not belong together raise ValueError,
and so do probabilities that are not finite: a diverged model has no accuracy. Introduced in lesson 02.
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import display
from sklearn import metrics

from helpers import config

RESULTS_MIME_TYPE = "application/vnd.transfer-learning-course.results+json"
_Z95 = 1.959963984540054
pd.set_option("display.max_colwidth", None)  # pandas cuts texts at 50 characters, a proportion's interval among them


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
        ValueError: if the lengths differ, a label is no class, or a probability is not finite.
    """
    labels, probabilities = _checked(labels, probabilities)
    return Proportion(int((probabilities.argmax(axis=1) == labels).sum()), len(labels))


def confusion(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Counts of true class (rows) against predicted class (columns), ``(classes, classes)`` integers."""
    labels, probabilities = _checked(labels, probabilities)
    classes = np.arange(probabilities.shape[1])
    return metrics.confusion_matrix(labels, probabilities.argmax(axis=1), labels=classes)


def report(labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]) -> pd.DataFrame:
    """Precision, recall, F1 and number of images of each class, and their mean over the classes that have images."""
    labels, probabilities = _checked(labels, probabilities)
    if len(class_names) != probabilities.shape[1]:
        raise ValueError(f"{len(class_names)} names were given for {probabilities.shape[1]} classes: give one each.")
    *rates, support = metrics.precision_recall_fscore_support(
        labels, probabilities.argmax(axis=1), labels=np.arange(len(class_names)), zero_division=0
    )
    table = pd.DataFrame(dict(zip(("precision", "recall", "F1"), rates, strict=True)), index=list(class_names))
    table.loc["mean"] = table[support > 0].mean()
    return table.round(3).assign(images=[*support, support.sum()])


@dataclasses.dataclass(frozen=True)
class Difference:
    """A difference of two accuracies on the same images, and its 95 % interval, in [-1, 1].

    Attributes:
        value: Accuracy of the first less that of the second, the mean over seeds where there are several.
        interval: Lower and upper end.
        only_first: Images that the first alone gets right (their mean number over seeds).
        only_second: Images that the second alone gets right.
    """

    value: float
    interval: tuple[float, float]
    only_first: float
    only_second: float

    @property
    def resolved(self) -> bool:
        """Whether the order of the two is more than chance: the interval excludes 0, and 6 images or more decide it.

        Of fewer, even if all speak for one side, a sign test would not say so at 5 %, and the bootstrap is too sure.
        """
        return (self.interval[0] > 0 or self.interval[1] < 0) and self.only_first + self.only_second >= 6

    def __str__(self) -> str:
        low, high = (100 * end for end in self.interval)
        verdict = "resolved" if self.resolved else "not resolved"
        return f"{100 * self.value:+.1f} points (95 % interval {low:+.1f} to {high:+.1f}): {verdict}"


def paired_difference(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, series: np.ndarray | None = None
) -> Difference:
    """Compare two models image by image, which is sharper than comparing two intervals.

    Images, and seeds where several are given, are drawn with replacement 4,000 times (a bootstrap; Efron, 1979); the
    interval holds the middle 95 % of the differences. Seed by seed the two belong together: the same draw of training
    images, or the same first phase. One that was trained once is compared with every seed of the other.

    Args:
        labels: True classes, ``(n,)`` integers.
        first: Probabilities of the first model, ``(n, classes)``, or ``(seeds, n, classes)``.
        second: Of the second.
        series: Number of each image's series, ``(n,)`` integers: images of one series, such as photographs of the same
            thing, are drawn together. By default each image is drawn alone.

    Raises:
        ValueError: as ``accuracy``; or if there are no images, different numbers of seeds, neither of them one, or not
            one number of a series for each image.
    """
    right = []
    for probabilities in (first, second):
        runs = np.asarray(probabilities)
        runs = runs[np.newaxis] if runs.ndim == 2 else runs
        checked = [_checked(labels, run) for run in runs]
        right.append(np.stack([run.argmax(axis=1) == known for known, run in checked]).astype(float))
    if not len(labels):
        raise ValueError("There are no images to compare two models on: give at least one label.")
    seeds = max(len(runs) for runs in right)
    if any(len(runs) not in (1, seeds) for runs in right):
        raise ValueError(f"{len(right[0])} seeds and {len(right[1])} seeds: give the same number of both, or one.")
    gained = right[0] - right[1]  # (seeds, n), in {-1, 0, 1}
    series = np.arange(len(labels)) if series is None else np.unique(series, return_inverse=True)[1]
    if len(series) != len(labels):
        raise ValueError(f"{len(series)} numbers of a series for {len(labels)} images: give one each.")
    images = np.bincount(series)  # in each series
    sums = np.stack([np.bincount(series, row) for row in gained])  # (seeds, series)
    rng, n = np.random.default_rng(0), len(images)
    drawn_means = np.empty(4000)
    for i in range(len(drawn_means)):
        means, drawn = sums[rng.integers(seeds, size=seeds)].mean(axis=0), rng.integers(n, size=n)
        drawn_means[i] = means[drawn].sum() / images[drawn].sum()
    low, high = np.quantile(drawn_means, (0.025, 0.975))
    return Difference(
        value=float(gained.mean()),
        interval=(float(low), float(high)),
        only_first=float((gained > 0).sum() / seeds),
        only_second=float((gained < 0).sum() / seeds),
    )


def most_confident_mistakes(labels: np.ndarray, probabilities: np.ndarray, most: int = 8) -> np.ndarray:
    """Positions of the wrong predictions with the highest probability, surest first, at most ``most``."""
    labels, probabilities = _checked(labels, probabilities)
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:most]


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How well a model knows how sure it may be.

    Attributes:
        confidence: Mean probability of the predicted class in each bin that has images, in [0, 1].
        accuracy: Share of right predictions in each of these bins.
        images: Number of images in each of these bins.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    images: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: the mean gap between confidence and accuracy, weighted by images."""
        return float(np.average(np.abs(self.confidence - self.accuracy), weights=self.images))


def calibration(labels: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> Calibration:
    """Compare how sure a model is with how often it is right (Guo et al., 2017).

    Args:
        labels: True classes, ``(n,)`` integers; at least one.
        probabilities: Predicted probabilities, ``(n, classes)``; logits will not do.
        bins: Number of equally wide bins of confidence, from 0 to 1.

    Raises:
        ValueError: as ``accuracy``; or if the numbers are no probabilities, or there are no images.
    """
    labels, probabilities = _checked(labels, probabilities)
    if not len(labels) or probabilities.min() < 0 or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
        raise ValueError("Calibration needs images with probabilities that add up to 1: put logits through a softmax.")
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    number = np.minimum((sure * bins).astype(int), bins - 1)
    used = [number == each for each in np.unique(number)]
    return Calibration(
        confidence=np.array([sure[one].mean() for one in used]),
        accuracy=np.array([right[one].mean() for one in used]),
        images=np.array([one.sum() for one in used]),
    )


def show_results(**results: object) -> None:
    """Show a lesson's main results, and hand them to ``make run``, which prints them in its table.

    Args:
        results: Name to value; anything but a number is shown as text.
    """
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in results.items()}
    values = {name: value if isinstance(value, (int, float)) else str(value) for name, value in plain.items()}
    lines = [f"{name.replace('_', ' ')}: {value}" for name, value in values.items()]
    display({"text/plain": "\n".join(lines), RESULTS_MIME_TYPE: values}, raw=True)


def recorded(lesson: str, folder: Path = config.RESULTS) -> pd.DataFrame:
    """The measured results of a lesson, one column for each run and backbone, the sample run's first.

    Args:
        lesson: Number of the lesson, such as ``"02"``.
        folder: Where the results lie.

    Returns:
        A table of texts; an empty one where nothing was recorded.
    """
    files = sorted(folder.glob(f"{lesson}_*.json"), key=lambda path: ("sample" not in path.name, path.name))
    columns = {}
    for path in files:
        result = json.loads(path.read_text(encoding="utf-8"))
        shown = {name.replace("_", " "): str(value) for name, value in result["figures"].items()}
        columns[f"{result['run']}, {result['backbone']}"] = {**shown, "seconds": str(result["seconds"])}
    return pd.DataFrame(columns).fillna("–")


def _checked(labels, probabilities):
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            f"Labels of shape {labels.shape} and probabilities of shape {probabilities.shape} do not belong together: "
            "give (n,) and (n, classes)."
        )
    if not np.isfinite(probabilities).all():
        raise ValueError("Some probabilities are not numbers: the model has diverged; train it with a lower rate.")
    if labels.size and not 0 <= labels.min() <= labels.max() < probabilities.shape[1]:
        raise ValueError(
            f"Labels run from {labels.min()} to {labels.max()}, but there are {probabilities.shape[1]} classes: "
            "give 0 to classes - 1."
        )
    return labels, probabilities
