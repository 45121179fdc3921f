"""Callbacks made by functions, since each training needs new ones. Introduced in lesson 02."""

import datetime
import time
from pathlib import Path

import keras


def tensorboard(folder: Path | str, experiment: str) -> keras.callbacks.TensorBoard:
    """Log to ``<folder>/<experiment>/<timestamp>``, so that no two trainings share a folder."""
    timestamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    return keras.callbacks.TensorBoard(log_dir=str(Path(folder) / experiment / timestamp))


def checkpoint(path: Path | str, monitor: str = "val_accuracy") -> keras.callbacks.ModelCheckpoint:
    """Keep the weights of the best epoch in ``path``.

    Raises:
        ValueError: if ``path`` does not end in ``.weights.h5``, as Keras demands.
    """
    if not str(path).endswith(".weights.h5"):
        raise ValueError(f"Weights cannot be kept in {path}: the name must end in .weights.h5.")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return keras.callbacks.ModelCheckpoint(str(path), monitor=monitor, save_best_only=True, save_weights_only=True)


def early_stopping(patience: int = 3, monitor: str = "val_loss") -> keras.callbacks.EarlyStopping:
    """Stop after ``patience`` epochs without improvement, and go back to the best epoch's weights."""
    return keras.callbacks.EarlyStopping(monitor=monitor, patience=patience, restore_best_weights=True)


class EpochLine(keras.callbacks.Callback):
    """Print a line per epoch; use it with ``verbose=0`` in place of the progress bar.

    Args:
        every: Print the first epoch's line, then each ``every``-th.
    """

    def __init__(self, every: int = 1):
        super().__init__()
        self.every = every

    def on_epoch_begin(self, epoch, logs=None):
        """Note the time."""
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Print the epoch's number, seconds, loss and accuracy on training and validation images."""
        if epoch and (epoch + 1) % self.every:
            return
        seconds = time.perf_counter() - self._started
        shown = sorted((name, value) for name, value in (logs or {}).items() if name != "learning_rate")
        values = "   ".join(f"{name} {value:.3f}" for name, value in shown)
        print(f"epoch {epoch + 1:2d}/{self.params['epochs']}   {seconds:5.1f} s   {values}")
