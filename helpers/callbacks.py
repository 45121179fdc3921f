"""Callbacks made by functions, since each training needs new ones, and a test of learning rates.

Introduced in lesson 02, the test in lesson 06.
"""

import dataclasses
import datetime
import math
import time
from pathlib import Path

import keras
import numpy as np

from helpers import models


def tensorboard(folder: Path | str, experiment: str) -> keras.callbacks.TensorBoard:
    """Log to ``<folder>/<experiment>/<timestamp>``, so that no two trainings share a folder."""
    timestamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    return keras.callbacks.TensorBoard(log_dir=str(Path(folder) / experiment / timestamp))


def early_stopping(patience: int = 3, monitor: str = "val_loss") -> keras.callbacks.EarlyStopping:
    """Stop after ``patience`` epochs without improvement, and go back to the best epoch's weights."""
    return keras.callbacks.EarlyStopping(monitor=monitor, patience=patience, restore_best_weights=True)


class _Timed(keras.callbacks.Callback):
    """Knows how long an epoch has taken."""

    def on_epoch_begin(self, epoch, logs=None):
        """Note the time."""
        self._started = time.perf_counter()

    def _seconds(self) -> float:
        return time.perf_counter() - self._started


class EpochLine(_Timed):
    """Print a line per epoch; use it with ``verbose=0`` in place of the progress bar.

    Args:
        every: Print the first epoch's line, then each ``every``-th.
    """

    def __init__(self, every: int = 1):
        super().__init__()
        self.every = every

    def on_epoch_end(self, epoch, logs=None):
        """Print the epoch's number, seconds, loss and accuracy on training and validation images."""
        if epoch and (epoch + 1) % self.every:
            return
        shown = sorted((name, value) for name, value in (logs or {}).items() if name != "learning_rate")
        values = "   ".join(f"{name} {value:.3f}" for name, value in shown)
        print(f"epoch {epoch + 1:2d}/{self.params['epochs']}   {self._seconds():5.1f} s   {values}")


class EpochSeconds(_Timed):
    """Add the seconds of each epoch to the history, under ``"seconds"``; the first one includes compiling."""

    def on_epoch_end(self, epoch, logs=None):
        """Hand the seconds on with the epoch's other numbers."""
        if logs is not None:
            logs["seconds"] = self._seconds()


_SPAN = 8  # steps over which a fall of the loss is measured: fewer would follow its noise


@dataclasses.dataclass(frozen=True)
class RateRange:
    """What a learning-rate range test found.

    Attributes:
        rates: The learning rates that were tried, one for each step, rising.
        losses: The loss before each step, smoothed.
        suggestion: The rate at which the loss begins to fall fastest.
    """

    rates: np.ndarray
    losses: np.ndarray
    suggestion: float


def rate_range_test(
    model: keras.Model,
    inputs: np.ndarray,
    labels: np.ndarray,
    batch_size: int = 32,
    lowest: float = 1e-5,
    highest: float = 1.0,
    steps: int = 60,
) -> RateRange:
    """Train with a rate that grows from step to step, and watch where the loss falls and where it explodes.

    This is the test of Smith (2017), with a new random batch for each step. It ends early where the loss is four times
    its lowest. Afterwards the model is what it was before.

    Args:
        model: Built and compiled, with a plain number for its learning rate.
        inputs: What it is trained on, ``(n, ...)``.
        labels: Their labels, ``(n,)``.
        batch_size: Examples in a step.
        lowest: First rate.
        highest: Last rate.
        steps: Number of rates, at equal factors from one to the next.

    Raises:
        ValueError: if the rates do not rise, there are fewer than 10, or the loss is not a number at the first step.
    """
    if not 0 < lowest < highest or steps < 10:
        raise ValueError(f"{steps} rates from {lowest} to {highest}: let them rise from above 0, in 10 steps or more.")
    go_back = models.starting_point(model)
    rng = np.random.default_rng(0)
    rates, losses, mean = [], [], 0.0
    try:
        for step, rate in enumerate(np.geomspace(lowest, highest, steps), start=1):
            drawn = rng.integers(len(inputs), size=batch_size)
            model.optimizer.learning_rate = float(rate)
            model.reset_metrics()
            loss = float(model.train_on_batch(inputs[drawn], labels[drawn], return_dict=True)["loss"])
            if not math.isfinite(loss):
                break
            mean = 0.8 * mean + 0.2 * loss
            rates.append(float(rate))
            losses.append(mean / (1 - 0.8**step))  # the mean starts at 0, which is corrected here
            if losses[-1] > 4 * min(losses):
                break
    finally:
        go_back()
    if not losses:
        raise ValueError(f"The loss is not a number at the rate {lowest}: check pixels and labels, or start lower.")
    falls = np.array(losses[_SPAN:]) - np.array(losses[:-_SPAN])
    steepest = int(np.argmin(falls)) if len(falls) else 0
    return RateRange(np.array(rates), np.array(losses), rates[steepest])
