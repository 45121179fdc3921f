import re
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from helpers import callbacks

INPUTS, TARGETS = np.zeros((2, 1), np.float32), np.zeros((2, 1), np.float32)


class Bias(keras.layers.Layer):
    """One number, added to the input; nothing trains it, so that a test sets it epoch by epoch."""

    def build(self, _):
        self.value = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, inputs):
        return inputs + self.value


class Script(keras.callbacks.Callback):
    """Gives each epoch a weight (its number) and the chosen value of a metric."""

    def __init__(self, metric: str, values: list[float]):
        super().__init__()
        self.metric, self.values = metric, values

    def on_epoch_end(self, epoch, logs=None):
        self.model.layers[-1].value.assign(epoch + 1.0)
        logs[self.metric] = self.values[epoch]


def fit(metric: str, values: list[float], *others, **options) -> keras.Model:
    model = keras.Sequential([keras.Input((1,)), Bias()])
    model.compile("sgd", "mse", metrics=["accuracy"])  # tells Keras that more accuracy is better
    model.fit(INPUTS, TARGETS, epochs=len(values), verbose=0, callbacks=[Script(metric, values), *others], **options)
    return model


def number(model: keras.Model) -> float:
    return float(model.layers[-1].value)


def test_two_trainings_never_log_to_one_folder(tmp_path):
    first, second = (Path(callbacks.tensorboard(tmp_path, "frozen").log_dir) for _ in range(2))
    assert first != second
    assert first.parent == second.parent == tmp_path / "frozen"
    assert re.fullmatch(r"\d{8}-\d{6}-\d{6}", first.name)


def test_tensorboard_writes_what_tensorboard_reads(tmp_path):
    logger = callbacks.tensorboard(str(tmp_path), "frozen")
    fit("val_accuracy", [0.5], logger)
    assert list(Path(logger.log_dir).rglob("events.out.tfevents.*"))


def test_seconds_of_each_epoch_stand_in_the_history():
    model = keras.Sequential([keras.Input((1,)), Bias()])
    model.compile("sgd", "mse")
    pause = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(0.2))
    history = model.fit(INPUTS, TARGETS, epochs=3, verbose=0, callbacks=[pause, callbacks.EpochSeconds()]).history
    assert len(history["seconds"]) == len(history["loss"]) == 3
    assert all(0.2 <= seconds < 60 for seconds in history["seconds"])


def test_early_stopping_stops_and_goes_back_to_the_best_epoch():
    script = Script("val_loss", [0.9, 0.5, 0.6, 0.7, 0.1])
    model = fit("val_loss", script.values, callbacks.early_stopping(patience=2))
    assert len(model.history.epoch) == 4  # two epochs without improvement after the second
    assert number(model) == 2


def test_early_stopping_waits_three_epochs_by_default():
    model = fit("val_loss", [0.5, 0.6, 0.7, 0.8, 0.9, 1.0], callbacks.early_stopping())
    assert len(model.history.epoch) == 4


def test_early_stopping_goes_back_to_the_best_epoch_where_it_does_not_stop():
    assert number(fit("val_loss", [0.9, 0.5, 0.6], callbacks.early_stopping(patience=9))) == 2


def test_epoch_line_prints_one_line_an_epoch_with_validation(capsys):
    fit("accuracy", [0.25, 0.5], callbacks.EpochLine(), validation_data=(INPUTS + 1, TARGETS))
    lines = capsys.readouterr().out.splitlines()
    pattern = (
        r"epoch  {}/2    *\d+\.\d s   accuracy {}   loss \d\.\d{{3}}   val_accuracy \d\.\d{{3}}   val_loss \d\.\d{{3}}"
    )
    assert len(lines) == 2
    for line, epoch, accuracy in zip(lines, (1, 2), ("0.250", "0.500"), strict=True):
        assert re.fullmatch(pattern.format(epoch, accuracy), line), line


def test_epoch_line_leaves_out_the_learning_rate(capsys):
    fit("learning_rate", [0.125], callbacks.EpochLine())
    assert "0.125" not in capsys.readouterr().out


# The learning-rate range test


@pytest.fixture
def line_model(rng):
    """A linear model with Adam, and the data of a line."""
    inputs = rng.normal(size=(200, 3)).astype(np.float32)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.123), "mse")
    return model, inputs, (inputs @ [1.0, -2.0, 0.5]).astype(np.float32)


def test_rate_range_test_suggests_a_rate_that_learns_and_leaves_the_model_as_it_was(line_model):
    model, inputs, labels = line_model
    before = model.get_weights()
    found = callbacks.rate_range_test(model, inputs, labels, lowest=1e-4, highest=100.0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert model.optimizer.learning_rate.numpy() == np.float32(0.123)
    assert model.optimizer.iterations.numpy() == 0
    assert len(found.rates) == len(found.losses) <= 60
    assert np.allclose(np.diff(np.log(found.rates)), np.log(1e6) / 59, atol=1e-3)
    assert found.rates[0] < found.suggestion < found.rates[found.losses.argmin()]
    assert found.losses[-1] > 4 * found.losses.min()  # it ended where the loss exploded
    model.optimizer.learning_rate = found.suggestion
    history = model.fit(inputs, labels, epochs=20, verbose=0).history["loss"]
    assert history[-1] < 0.2 * history[0]


def test_rate_range_test_starts_with_the_loss_of_the_model_as_it_is(line_model):
    model, inputs, labels = line_model
    found = callbacks.rate_range_test(model, inputs, labels, batch_size=5000, lowest=1e-8, highest=1e-7)
    assert found.losses == pytest.approx(model.evaluate(inputs, labels, verbose=0), rel=0.2)


def test_rate_range_test_refuses_what_it_cannot_work_with(line_model):
    model, inputs, labels = line_model
    with pytest.raises(ValueError, match=r"60 rates from 1 to 0\.1: let them rise"):
        callbacks.rate_range_test(model, inputs, labels, lowest=1, highest=0.1)
    with pytest.raises(ValueError, match="5 rates from 1e-05"):
        callbacks.rate_range_test(model, inputs, labels, steps=5)
    with pytest.raises(ValueError, match="loss is not a number at the rate 1e-05: check pixels and labels"):
        callbacks.rate_range_test(model, inputs * np.nan, labels)
