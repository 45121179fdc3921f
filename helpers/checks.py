"""Checks of exercises: each looks at what the learner made, a model, a split, numbers, and answers with a message.

What the learner made comes by position, what the exercise gives by keyword. A check never raises for a wrong answer: it
says what is wrong and where to look, but not the solution. Keras models are examined by what they do and by the
attributes they have; this module imports no TensorFlow.
"""

import dataclasses
import functools
import re
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from helpers import evaluation


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a check says.

    Attributes:
        right: True or False; None if nothing has been entered yet.
        message: What the answer shows, or what is wrong with it and where to look.
    """

    right: bool | None
    message: str

    def __bool__(self) -> bool:
        return self.right is True

    def __repr__(self) -> str:
        opening = {True: "Right.", False: "Not yet.", None: "Nothing entered yet."}[self.right]
        return textwrap.fill(f"{opening} {self.message}", width=110)


class _WrongError(Exception):
    """The answer is wrong; the message says in what."""


class _EmptyError(Exception):
    """There is no answer yet; the message says what to do."""


NOTHING_WRITTEN = "Write your answer below # your code here, run it, and check again."
NOTHING_RETURNED = "Nothing was returned. If you have written your answer, does it end with `return`?"


def check(examine: Callable[..., str], nothing: str = NOTHING_WRITTEN) -> Callable[..., Verdict]:
    """Make a check of a function that returns what a right answer shows, and calls ``wrong`` for others."""

    @functools.wraps(examine)
    def checked(*answers, **given) -> Verdict:
        try:
            missing = [i for i, answer in enumerate(answers) if _is_empty(answer)]
            if missing and len(missing) == len(answers):
                raise _EmptyError(nothing)
            if missing:
                place = ("first", "second", "third")[missing[0]]
                wrong(f"Of the {len(answers)} answers the {place} is still None.")
            return Verdict(True, examine(*answers, **given))
        except _EmptyError as empty:
            return Verdict(None, str(empty) or nothing)
        except _WrongError as found:
            return Verdict(False, str(found))
        except Exception as error:  # whatever a learner's object raises, the lesson goes on
            kinds = ", ".join(type(answer).__name__ for answer in answers)
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            if any(isinstance(answer, types.FunctionType) for answer in answers):
                return Verdict(False, f"This stopped with {reason}.")
            return Verdict(False, f"This could not be examined ({reason}). Is it what is asked for: {kinds}?")

    return checked


returned_check = functools.partial(check, nothing=NOTHING_RETURNED)  # for answers that a learner's function returns


def wrong(message: str) -> None:
    """End a check: the answer is wrong, for this reason."""
    raise _WrongError(message)


def _is_empty(answer: object) -> bool:
    return answer is None or answer is ...


def _entered(answer: object) -> object:
    if _is_empty(answer):
        raise _EmptyError
    return answer


def _returned(answer: object) -> object:
    if _is_empty(answer):
        raise _EmptyError(NOTHING_RETURNED)
    return answer


# Models


@check
def check_feature_extractor(model, *, backbone) -> str:
    """A model from raw pixels to the mean of each of the backbone's channels."""
    _is_model(model)
    pixels = _noise(backbone)
    maps = np.asarray(backbone(pixels))
    height, width, channels = maps.shape[1:]
    found, expected = _outputs(model, pixels), maps.mean(axis=(1, 2))
    if found.ndim == 4:
        wrong(f"It still returns maps, {found.shape[1:]}: the places are not averaged yet. Which layer does that?")
    if found.shape[1:] == (height * width * channels,):
        wrong(f"It returns {found.shape[1]:,} numbers: each channel at each place. Flattening keeps the places.")
    if found.shape[1:] == (height, width) or found.shape[1:] == (height * width,):
        wrong("One number per place is left, so the mean was taken over the channels. Which axes are the places?")
    if found.shape != expected.shape:
        wrong(f"It returns {found.shape[1:]} numbers, the backbone has {channels} channels: is a head still on top?")
    if np.allclose(found, maps.max(axis=(1, 2)), rtol=1e-3, atol=1e-4):
        wrong("These are the largest values of the channels, not their means: look at the kind of pooling.")
    if not np.allclose(found, expected, rtol=1e-3, atol=1e-4):
        for divisor in (255, 127.5):
            if np.allclose(found, np.asarray(backbone(pixels / divisor)).mean(axis=(1, 2)), rtol=1e-3, atol=1e-4):
                wrong(
                    f"The pixels are divided by {divisor} first, but the backbone scales them itself: once too often."
                )
        wrong("These are not the means of this backbone's channels: another network's, or changed afterwards?")
    return f"{channels} numbers per photograph, each the mean of one channel over {height} × {width} places."


@check
def check_frozen_classifier(model, *, backbone, n_classes: int) -> str:
    """A classifier on a frozen backbone: the head alone is trained, and it returns probabilities."""
    _is_model(model)
    outputs, inside = _outputs(model, _noise(backbone)), {id(weight) for weight in backbone.weights}
    if not inside <= {id(weight) for weight in model.weights}:
        wrong("The backbone's weights are not all in this model: build it on the backbone that is given.")
    head = [weight for weight in model.weights if id(weight) not in inside]
    if not head:
        wrong("There is no new layer on the backbone: what turns features into classes?")
    trained = [weight for weight in model.trainable_weights if id(weight) in inside]
    if trained:
        wrong(f"Training would change {_size(trained):,} weights of the backbone: it is not frozen as a whole.")
    if not model.trainable_weights:
        wrong("Nothing would be trained, not even the head: freeze the backbone, not the whole model.")
    if outputs.ndim != 2:
        wrong(f"It returns {outputs.shape[1:]} per photograph: the head stands on maps. Average the places first.")
    if outputs.shape[1] != n_classes:
        wrong(f"The last layer has the size {outputs.shape[1]}, but there are {n_classes} classes.")
    channels, trained = backbone.output_shape[-1], _size(model.trainable_weights)
    if trained != channels * n_classes + n_classes:
        wrong(
            f"{trained:,} weights are trained, but only a new last layer is asked for: "
            f"{channels:,} × {n_classes} + {n_classes}."
        )
    kind = _kind_of_output(outputs)
    if kind != "probabilities":
        wrong(f"The outputs are {kind}, not probabilities that sum to 1: look at the activation.")
    return f"{_size(model.trainable_weights):,} weights are trained, {_size(model.non_trainable_weights):,} are not."


@check
def check_head(model, *, n_classes: int) -> str:
    """A compiled classifier whose output, loss and labels, class numbers, fit one another."""
    _is_model(model)
    _is_built(model)
    _compiled(model)
    return _output_and_loss(model, n_classes)


@check
def check_scaled_once(model, *, layer, low: float = 0.0, high: float = 1.0) -> str:
    """A chain of layers in which black reaches ``layer`` as ``low`` and white as ``high``."""
    _is_model(model)
    _is_built(model)
    chain = list(_chain(model, layer))
    if not any(each is layer for each in chain):
        wrong("The layer that is given is not in this model: put it in as it is.")
    position = next(i for i, each in enumerate(chain) if each is layer)
    pixels = np.stack([np.zeros(model.input_shape[1:]), np.full(model.input_shape[1:], 255.0)]).astype("float32")
    black, white = (float(np.mean(image)) for image in _received(model, layer, pixels))
    if np.allclose([black, white], [low, high], atol=0.01 * (high - low)):
        return f"Black reaches the network as {low:g} and white as {high:g}: scaled once, inside the model."
    if (black, white) == (0, 255):
        late = any("rescaling" in each.name for each in chain[position + 1 :])
        if late:
            wrong("The scaling comes after the network: it changes features, and the network still gets 0 to 255.")
        wrong(f"The pixels reach the network as they are, 0 to 255. It expects {low:g} to {high:g}.")
    if np.allclose([black, white], [0, 1 / 255], atol=1e-4):
        wrong("White reaches the network as 0.004: the pixels are divided by 255 twice.")
    if np.allclose([black, white], [-1, 1], atol=0.01):
        wrong(f"The pixels run from -1 to 1, as some other networks want them. This one expects {low:g} to {high:g}.")
    wrong(f"Black reaches the network as {black:.3g} and white as {white:.3g}; it expects {low:g} and {high:g}.")


@returned_check
def check_unfrozen(network, *, last_frozen: str) -> str:
    """A network of which the layers above ``last_frozen`` are trained, but no BatchNormalization."""
    _is_model(network)
    names = [layer.name for layer in network.layers]
    if last_frozen not in names:
        wrong(f"This network has no layer {last_frozen}: return the one that the function was given.")
    cut = names.index(last_frozen) + 1
    below = [layer.name for layer in network.layers[:cut] if layer.trainable_weights]
    above = [layer for layer in network.layers[cut:] if layer.weights]
    normalising = [layer.name for layer in above if _normalises(layer) and layer.trainable_weights]
    wanted = [layer for layer in above if not _normalises(layer)]
    trained = [layer for layer in wanted if layer.trainable_weights]
    if not (below or trained or normalising):
        wrong("No layer is trainable. network.trainable sets every layer: does it come before the loop?")
    if not network.trainable_weights:
        wrong(
            "The network itself is still frozen (network.trainable is False), so its layers' choices do not count. "
            "Set it to True before the loop."
        )
    if below and not trained:
        wrong(f"The wrong way round: {below[0]} would be trained, and what lies above {last_frozen} would not.")
    if below:
        wrong(f"Layers up to {last_frozen} would be trained too, such as {below[0]}.")
    if normalising and not trained:
        wrong(f"BatchNormalization ({normalising[0]}) would be trained, and nothing else: the wrong way round.")
    if normalising:
        wrong(f"{len(normalising)} BatchNormalization layers would be trained, such as {normalising[0]}.")
    if len(trained) < len(wanted):
        missing = next(layer.name for layer in wanted if layer not in trained)
        wrong(f"{missing} lies above {last_frozen} and is still frozen.")
    return f"{_size(network.trainable_weights):,} weights above {last_frozen} are trained, and no BatchNormalization."


@returned_check
def check_ready_to_fine_tune(model, *, backbone, head, cut: str, head_rate: float, n_classes: int) -> str:
    """A model with the head of phase 1, whose backbone is trained above ``cut``, at a rate well below the head's."""
    _is_model(model)
    _compiled(model)
    inside = {id(weight) for weight in backbone.weights}
    if not inside <= {id(weight) for weight in model.weights}:
        wrong("The backbone's weights are not all in this model: compile the model that is given.")
    if not backbone.trainable_weights:
        wrong("The backbone is still frozen: fine-tuning would train the head alone.")
    if not any(each is head for each in _chain(model, None)):
        wrong("The head is a new one: phase 1 is lost. Keep the classifier you were given.")
    normalising = [each.name for each in _chain(backbone, None) if _normalises(each) and each.trainable_weights]
    if normalising:
        wrong(f"{len(normalising)} BatchNormalization layers are trainable, {normalising[0]} among them.")
    names = [each.name for each in backbone.layers]
    trained = [each.name for each in backbone.layers if each.trainable_weights]
    lowest = next(each.name for each in backbone.layers[names.index(cut) + 1 :] if _weights_but_norms([each]))
    if trained[0] != lowest:
        wrong(f"Trained from {trained[0]} on, but `cut` is {cut}.")
    known = getattr(model.optimizer, "_trainable_variables", ())
    if known and len(known) != len(model.trainable_variables):
        wrong("The model was compiled before the backbone was unfrozen, and trains as it was then. Compile it again.")
    rate = float(np.asarray(model.optimizer.learning_rate))
    if rate > 1.01 * head_rate:  # rates are float32
        wrong(f"The rate, {rate:g}, is larger than the head's, {head_rate:g}: it would undo what was pretrained.")
    if rate > head_rate / 5:
        wrong(f"The rate, {rate:g}, is about the head's, {head_rate:g}. Pretrained weights need much smaller steps.")
    if rate < head_rate / 2000:
        wrong(f"At a rate of {rate:g} the weights would hardly move. How much smaller than the head's should it be?")
    _output_and_loss(model, n_classes)
    return f"Trained above {cut}, at a rate well below the head's, with a loss that fits the output."


@check
def check_augmentation(augmentation, *, photographs: np.ndarray) -> str:
    """A layer that changes photographs at random in training, within 0 to 255, and leaves them alone otherwise."""
    pixels = np.asarray(photographs, "float32")
    if not callable(augmentation):
        wrong(f"This is {_a(augmentation)}: an augmentation is a layer, or several in a keras.Sequential.")
    still = np.asarray(augmentation(pixels, training=False))
    copies = np.asarray(augmentation(np.repeat(pixels[:1], 32, axis=0), training=True))
    if copies.shape[1:] != pixels.shape[1:]:
        wrong(f"Photographs of {pixels.shape[1:]} become {copies.shape[1:]}: the network needs the old shape.")
    if copies.max() <= 2:
        wrong(f"No value of the copies is above {copies.max():.1f}: where is 0 to 255? Mind value_range.")
    if not np.array_equal(still, pixels):
        wrong("It changes photographs outside of training too, so predictions would vary or be off.")
    if np.allclose(copies, pixels[:1]):
        wrong("The copies are all like the original: nothing is changed in training.")
    if np.allclose(copies, copies[:1]):
        wrong("Every copy is changed in the same way: nothing is drawn at random.")
    if copies.min() < -1 or copies.max() > 256:
        wrong(f"The copies run from {copies.min():.0f} to {copies.max():.0f}: they leave the range 0 to 255.")
    if np.mean(_inverted(augmentation, pixels.shape[1])) > 0.05:
        wrong("Some copies are negatives, light where the photograph is dark: no animal looks like that.")
    tilts, widths = _tilts(augmentation, pixels.shape[1])
    if np.mean(tilts > 135) > 0.05:
        wrong("Some copies stand on their head: which photographs of animals do?")
    if np.mean(tilts > 45) > 0.05:
        wrong("Some copies are turned by more than 45 degrees. The unit of RandomRotation is a whole turn.")
    grey = np.full((64, *pixels.shape[1:]), 128.0, "float32")
    grey = np.asarray(augmentation(grey, training=True)).mean(axis=(1, 2, 3))
    if np.mean((grey < 30) | (grey > 225)) > 0.05:
        wrong("Some copies are nearly black or nearly white: nobody could name the animal.")
    if np.mean(widths < 0.3) > 0.05:
        wrong("Some copies show a small piece of the photograph, or little contrast. Zoom in less, or change it less.")
    return "Random in training, nothing at prediction, and the animal can still be named."


@check
def check_best_weights(model, history, *, features, labels, most_epochs: int) -> str:
    """A model that stopped by itself and went back to the epoch with the lowest validation loss."""
    _is_model(model)
    curves = getattr(history, "history", history)
    if "val_loss" not in curves:
        wrong("The history has no val_loss: fit needs validation data, or there is nothing to watch.")
    losses = np.asarray(curves["val_loss"], float)
    if not np.isfinite(losses).all():
        wrong("The validation loss is not a number at some epoch: the training has diverged. Look at the rate.")
    waited = len(losses) - 1 - int(losses.argmin())
    now = float(model.evaluate(features, labels, verbose=0, return_dict=True)["loss"])
    back = np.isclose(now, losses.min(), rtol=1e-3, atol=1e-4)
    if len(losses) >= most_epochs:
        if back and 1 < waited <= 20:  # a patient callback, and the lowest loss came late
            return f"All {most_epochs} epochs ran, and its weights are those of the lowest validation loss."
        wrong(
            f"It ran all {most_epochs} epochs. Is the callback handed to fit, does it watch val_loss, and is its "
            "patience short enough?"
        )
    if waited == 0:
        wrong("It stopped while the validation loss was at its lowest: what does the callback watch, and which way?")
    if waited == 1:
        wrong("It gave up after one epoch without improvement. Validation loss wobbles: wait a little longer.")
    if back:
        return "It stopped by itself, and its weights are those of the epoch with the lowest validation loss."
    if np.isclose(now, losses[-1], rtol=1e-3, atol=1e-4):
        wrong("It stopped, but its weights are those of the last epoch. The best ones have to be restored.")
    wrong(
        "The weights are not those of the lowest validation loss: does the callback watch val_loss, and did fit get "
        "the validation features?"
    )


# Data and numbers


@returned_check
def check_split(train, validation, *, labels: np.ndarray, fraction: float) -> str:
    """Positions of training and validation photographs: apart, complete, and balanced as the labels are."""
    labels = np.asarray(labels)
    parts = {"training": np.asarray(train), "validation": np.asarray(validation)}
    for name, positions in parts.items():
        if positions.dtype == bool:
            wrong("True and False: positions are asked for.")
        if positions.ndim != 1 or positions.dtype.kind not in "iu":
            wrong(f"The {name} part is no list of positions: whole numbers from 0 to {len(labels) - 1} are asked for.")
    together, largest = np.concatenate(list(parts.values())), np.bincount(labels).max()
    if len(together) > largest and together.max() < largest:
        wrong("These count from 0 in each class: map them back with np.flatnonzero.")
    for name, positions in parts.items():
        if len(positions) and not 0 <= positions.min() <= positions.max() < len(labels):
            wrong(f"The {name} part has the position {positions.max()}, but the last one is {len(labels) - 1}.")
        if len(set(positions.tolist())) < len(positions):
            wrong(f"The {name} part holds a photograph twice: draw without replacement.")
    both = np.intersect1d(*parts.values())
    if len(both):
        wrong(f"{len(both)} photographs are in both parts: the model would be tested on what it has learned by heart.")
    left = len(labels) - sum(map(len, parts.values()))
    if left:
        wrong(f"{left} photographs are in neither part.")
    share = len(parts["validation"]) / len(labels)
    if abs(share - fraction) > 0.02:
        swapped = " Are the two parts swapped?" if abs(1 - share - fraction) <= 0.02 else ""
        wrong(f"The validation part holds {share:.0%} of the photographs, not {fraction:.0%}.{swapped}")
    for c in np.unique(labels):
        drawn, whole = int(np.sum(labels[parts["validation"]] == c)), int(np.sum(labels == c))
        if drawn == 0:
            wrong(f"Class {c} has no photograph in the validation part. In which order do the files come?")
        if abs(drawn - fraction * whole) > 1:
            wrong(f"{drawn} of the {whole} photographs of class {c} are in the validation part: draw class by class.")
    drawn, classes = (
        set(parts["validation"].tolist()),
        [np.flatnonzero(labels == c).tolist() for c in np.unique(labels)],
    )
    for order, place in ((1, "first"), (-1, "last")):
        if all(drawn.issuperset(rows[::order][: len(drawn & set(rows))]) for rows in classes):
            wrong(f"Validation takes the {place} photographs of each class: draw them at random.")
    return f"{len(parts['training'])} and {len(parts['validation'])} photographs, none in both, class by class."


@check
def check_paired(only_first, only_second, *, labels, first, second) -> str:
    """Numbers of photographs that one of two models alone gets right."""
    a, b = (np.asarray(answers).argmax(axis=1) for answers in (first, second))
    right_a, right_b, n = a == labels, b == labels, len(labels)
    found = tuple(np.asarray(value) for value in (only_first, only_second))
    if any(value.ndim or value.dtype.kind not in "iuf" for value in found):
        wrong("Two numbers are asked for, one per model; True and False have to be counted.")
    x, y = float(found[0]), float(found[1])
    expected = (int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a)))
    if (x, y) == expected:
        return "These photographs decide. Those that both get right, or both wrong, say nothing of the difference."
    if (y, x) == expected:
        wrong("The two numbers are exchanged: the first counts what the first model alone gets right.")
    if np.allclose((x * n, y * n), expected) or np.allclose((x, y), np.divide(expected, n / 100)):
        wrong("These are shares: count the photographs.")
    if (x, y) == (right_a.sum(), right_b.sum()):
        wrong("These count all that each model gets right. Leave out the photographs that both get right.")
    if (x, y) == (np.sum(~right_a), np.sum(~right_b)):
        wrong("These count each model's mistakes. Look at photographs where one is right and the other is not.")
    if x == y == np.sum(a != b):
        wrong("This counts where the two answers differ, whoever is right. Compare each with the label.")
    wrong("Not these numbers: for how many photographs is one model right and the other wrong?")


@check
def check_experiment(answers, chosen, *, labels, fewest: int = 2, needed: tuple = (), seeds: int = 1) -> str:
    """Probabilities of several ways on the same validation photographs, and a choice that they support."""
    labels = np.asarray(labels)
    if not isinstance(answers, Mapping):
        wrong(f"The answers are {_a(answers)}: a dictionary is asked for, from the name of a way to its probabilities.")
    if not answers:
        raise _EmptyError
    missing = [name for name in needed if name not in answers]
    if missing:
        wrong(f"The way {missing[0]!r} is missing: without it there is nothing to compare with.")
    if len(answers) < fewest:
        ways = "1 way is" if len(answers) == 1 else f"{len(answers)} ways are"
        wrong(f"{ways} no comparison yet: try {fewest} or more.")
    runs = {name: _runs(name, value, labels, seeds) for name, value in answers.items()}
    names = list(runs)
    for i, name in enumerate(names):
        for other in names[:i]:
            if runs[name].shape == runs[other].shape and np.allclose(runs[name], runs[other], atol=1e-6):
                wrong(f"{other!r} and {name!r} give the very same probabilities: the change did not reach the model.")
    scores = {name: float(np.mean(run.argmax(axis=-1) == labels)) for name, run in runs.items()}
    best = max(scores, key=scores.get)
    chance = np.bincount(labels).max() / len(labels)
    if scores[best] < chance + 0.05:
        wrong("No way is better than guessing: are the labels in the photographs' order, and is anything trained?")
    if chosen not in runs:
        wrong(f"{chosen!r} is none of the ways: choose from {', '.join(map(repr, names))}.")
    if chosen != best and evaluation.paired_difference(labels, runs[best], runs[chosen]).resolved:
        wrong(f"{best!r} is better than {chosen!r} on these photographs by more than chance: see paired_difference.")
    return f"{len(runs)} ways on the same {len(labels)} photographs, and none beats your choice by more than chance."


@check
def check_note(note, *, difference: evaluation.Difference, photographs: int) -> str:
    """A note on an experiment that claims what its paired difference supports."""
    if not isinstance(note, Mapping):
        wrong(f"The note is {_a(note)}: fill in the dictionary.")
    if all(value is None or value is ... for value in note.values()):
        raise _EmptyError
    lines = ("question", "changed", "kept the same", "measured on", "photographs", "resolved", "result")
    strangers = [name for name in note if name not in lines]
    for name in lines:
        if name not in note and strangers:
            wrong(f"The line {name!r} is missing, and {strangers[0]!r} is none of those asked for: mind the spelling.")
        if name not in note or note[name] in (None, ..., ""):
            wrong(f"The line {name!r} is still empty: a reader could not repeat the experiment.")
    if "valid" not in str(note["measured on"]).lower():
        wrong("A choice is made on validation photographs. Test photographs come once, after all choices.")
    if note["photographs"] != photographs:
        wrong(f"The number of photographs is not {note['photographs']!r}: how many did both ways answer for?")
    if bool(note["resolved"]) != difference.resolved:
        wrong("Whether the difference is resolved: look whether its interval holds zero.")
    words = str(note["result"]).lower()
    claims = re.search(r"\b(better|worse|best|beats?|wins?|improves?d?|outperforms?|helps?|helped|harms?)\b", words)
    denied = re.search(r"\b(not|no|cannot|neither|nor|without|unresolved|open|whether)\b|n't", words)
    if not difference.resolved and claims and not denied:
        wrong(f"The result says {claims[0]!r}, but the difference is not resolved: say no more than the interval does.")
    if not re.search(r"\d", words):
        wrong("The result holds no number: give the difference in points, and its interval.")
    if not _mentions(words, difference.value):
        wrong("The result does not give the largest of the differences: print it, and copy its points.")
    if not all(_mentions(words, end) for end in difference.interval):
        wrong("The result does not give both ends of the interval: a reader must see how sure it is.")
    return "Another person could repeat this, and it claims no more than was measured."


@check
def check_interval(interval) -> str:
    """A function from ``correct`` and ``total`` to the 95 % Wilson interval."""
    if not callable(interval):
        wrong(f"This is {_a(interval)}: a function of correct and total is asked for.")
    for correct, total in ((45, 50), (3, 20), (0, 10), (500, 1000)):
        found = _returned(interval(correct, total))
        pair = np.atleast_1d(np.asarray(found, float))
        if pair.shape != (2,):
            wrong(f"For {correct} of {total} it returns {pair.size} number: return both ends, low and high.")
        expected = np.array(evaluation.Proportion(correct, total).interval)
        if np.allclose(pair, expected, atol=1e-3):
            continue
        if np.allclose(pair[::-1], expected, atol=1e-3):
            wrong("The ends are exchanged: the lower one comes first.")
        if np.allclose(pair, 100 * expected, atol=0.1):
            wrong("These are per cent: return proportions, from 0 to 1.")
        p = correct / total
        half = 1.96 * (p * (1 - p) / total) ** 0.5
        if np.allclose(pair, (p - half, p + half), atol=1e-3):
            wrong("This is the simpler normal interval. For 0 of 10 it has no width: add the terms with z squared.")
        for z, level in ((1.645, 90), (2.576, 99), (1.0, 68)):
            if np.allclose(pair, _wilson(correct, total, z), atol=2e-3):
                wrong(f"This is the {level} % interval: which z belongs to 95 %?")
        if np.allclose(pair / (1 + 1.96**2 / total), expected, atol=1e-3):
            wrong("The whole has to be divided by 1 + z²/n: centre and half-width, both.")
        wrong(f"{correct} of {total} gives {pair[0]:.3f} and {pair[1]:.3f}: compare with the formula, term by term.")
    return "It agrees with the course's own for four counts, 0 of 10 among them, where the simple formula fails."


@check
def check_best_epoch(epoch, *, history: Mapping) -> str:
    """The epoch, counted from 1, whose weights to keep."""
    value = np.asarray(epoch)
    if value.ndim or value.dtype.kind not in "iuf":
        wrong("One number is asked for.")
    losses = np.asarray(history["val_loss"])
    if value == 1 + losses.argmin():
        return "After it the training loss goes on falling while the validation loss rises: that is overfitting."
    if value == losses.argmin():
        wrong("One too few: Python counts from 0, epochs are counted from 1.")
    if value == len(losses):
        wrong("That is the last epoch. What did the validation loss do before it?")
    if value == 1 + np.argmax(history["accuracy"]) or value == 1 + np.argmin(history["loss"]):
        wrong("That is where the model knows its training photographs best. Which curve speaks of new ones?")
    if value == 1 + np.argmax(history["val_accuracy"]):
        wrong("That is the highest validation accuracy, a coarse measure. Early stopping watches the loss.")
    if value == 1 + losses.argmax():
        wrong("That is the highest validation loss.")
    if not 1 <= value <= len(losses):
        wrong(f"There are {len(losses)} epochs, counted from 1.")
    wrong("Not that one: look for the lowest point of the validation loss.")


@check
def check_threshold(threshold, *, labels, chances, least_found: float) -> str:
    """A threshold that finds enough of class 1 with as few false alarms as that allows."""
    labels, chances, value = np.asarray(labels), np.asarray(chances), np.asarray(threshold)
    if value.ndim or value.dtype.kind not in "iuf":
        wrong("One number between 0 and 1 is asked for: everything above it is called a dog.")
    if not 0 <= value <= 1:
        wrong(f"{value:g} is no probability: thresholds lie between 0 and 1.")
    dogs, cats = chances[labels == 1], chances[labels == 0]
    found, alarms = float(np.mean(dogs > value)), int(np.sum(cats > value))
    if found < least_found:
        kept = float(np.mean(cats <= value))
        turned = " Cats are judged by it, and dogs are meant." if kept >= least_found and value > 0.5 else ""
        if np.isclose(value, least_found):
            wrong(f"{value:g} is the share of dogs to find, not the threshold.")
        wrong(f"It finds {found:.0%} of the dogs, fewer than {least_found:.0%}: the threshold is too high.{turned}")
    enough = np.sort(dogs)[::-1][int(np.ceil(least_found * len(dogs))) - 1]
    fewest = int(np.sum(cats >= enough))
    if value == 0:
        wrong("At 0 every photograph is called a dog: all are found, and every cat is a false alarm.")
    if alarms > fewest:
        wrong(f"It finds enough dogs, but calls {alarms} cats dogs; {fewest} are enough. Go higher.")
    return f"It finds at least {least_found:.0%} of the dogs, and no threshold that does has fewer false alarms."


# Fine-tuning, introduced in lesson 04


@check
def check_freeze_point(name, *, network, most_weights: int) -> str:
    """Name of the earliest layer at which a network can be cut if at most ``most_weights`` are trained above it."""
    if not isinstance(name, str):
        wrong(f"This is {_a(name)}: the name of a layer is asked for, in quotation marks.")
    names = [layer.name for layer in network.layers]
    if name not in names:
        block = any(each.startswith(name) for each in names)
        wrong(
            f"There is no layer {name!r}. " + ("Which of the block's layers is its last?" if block else "See its list.")
        )
    above = [_size(_weights_but_norms(network.layers[i + 1 :])) for i in range(len(names))]
    trained = above[names.index(name)]
    if trained == 0:
        wrong(f"Above {name} there is nothing to train: the whole network would stay frozen.")
    if not _cuts(network, name):
        wrong(f"{name} lies inside a block: a shortcut goes past it, so what lies above needs more than its output.")
    if trained > most_weights:
        wrong(f"Above {name} lie {trained:,} weights that would be trained, more than {most_weights:,}.")
    if any(trained < above[i] <= most_weights and _cuts(network, names[i]) for i in range(names.index(name))):
        wrong(f"Above {name} only {trained:,} weights would be trained: there is room for another block.")
    return f"{trained:,} weights above {name} can be trained, and all paths through the network meet in it."


@check
def check_moving(moving, *, network) -> str:
    """Names of the layers whose running statistics move under ``fit``."""
    names = [moving] if isinstance(moving, str) else list(moving)
    if not all(isinstance(name, str) for name in names):
        wrong("Names are asked for: each layer has a name.")
    known, found = {layer.name: layer for layer in network.layers}, set(names)
    norms = {name for name, layer in known.items() if _normalises(layer)}
    expected = {name for name in norms if known[name].trainable}
    if strangers := sorted(found - set(known)):
        wrong(f"There is no layer {strangers[0]!r} in this network.")
    if others := sorted(found - norms):
        wrong(
            f"{others[0]} keeps no running statistics: gradients alone change it. Which kind of layer does keep them?"
        )
    if not found:
        wrong("Some do move. Compare their running means before and after fit, not after a mere prediction.")
    if found == norms - expected:
        wrong("The wrong way round: these stay as they are.")
    if found == norms and found != expected:
        wrong("Not all of them: one kind of freezing does hold. Measure each of them.")
    if still := sorted(found - expected):
        wrong(f"{still[0]} stays as it is. What is its trainable?")
    if found != expected:
        wrong("More of them move: do not trust what the code asks for in the call, measure it.")
    return "What holds a BatchNormalization still under fit is its own trainable, not training=False in the call."


@check
def check_schedule(schedule) -> str:
    """A function of step, number of steps and highest rate: half a period of a cosine, from the highest rate to 0."""
    if not callable(schedule):
        wrong(f"This is {_a(schedule)}: a function of step, steps and highest is asked for.")
    for steps, highest in ((8, 1e-3), (20, 0.5)):
        done = np.arange(steps + 1) / steps
        rates = [np.asarray(_returned(schedule(step, steps, highest)), float) for step in range(steps + 1)]
        if any(rate.ndim for rate in rates):
            wrong("It returns an array: one rate for one step is asked for.")
        found, angle = np.array(rates) / highest, np.pi * done
        if np.allclose(found, (1 + np.cos(angle)) / 2, atol=1e-4):
            continue
        mistakes = {
            "The rate rises: it is to start at the highest and to end at 0.": (1 - np.cos(angle)) / 2,
            "It falls along a straight line: where is the cosine?": 1 - done,
            "It is negative in the second half: lift the cosine, which runs from 1 to -1, above zero.": np.cos(angle),
            "It starts at twice the highest rate: lifted, the cosine runs from 2 to 0.": 1 + np.cos(angle),
            "It is back at the highest rate at the end: half a period is enough.": (1 + np.cos(2 * angle)) / 2,
            "It uses a quarter of the period: the cosine has to run from 1 to -1.": np.cos(angle / 2),
            "The angle seems to be in degrees: np.cos takes radians.": (1 + np.cos(180 * done)) / 2,
            "The rate hardly changes. Is the angle in radians, and does the step reach it?": np.full(
                steps + 1, found[0]
            ),
            "It runs from 1 to 0: where is the highest rate?": (1 + np.cos(angle)) / 2 / highest,
        }
        for message, values in mistakes.items():
            if np.allclose(found, values, atol=1e-3 * max(1, np.abs(values).max())):
                wrong(message)
        if not np.isclose(found[0], 1, atol=1e-3):
            wrong(f"At step 0 it is {found[0]:.3g} times the highest rate: it is to start there.")
        if not np.isclose(found[-1], 0, atol=1e-3):
            wrong(f"At the last step it is {found[-1]:.3g} times the highest rate: it is to end at 0.")
        wrong("It starts and ends as it should, but in between it is no cosine.")
    return "Large steps first, small ones at the end, and the change is slow at both ends."


@check
def check_chosen_rate(rate, *, sweep: Mapping, images: int) -> str:
    """A rate from a table: as good on validation images as the best, up to one standard error, and no larger."""
    value = np.asarray(rate)
    if value.ndim or value.dtype.kind not in "iuf":
        wrong("One number is asked for, a rate from the table.")
    rates, *accuracies = (np.asarray(sweep[name], float) for name in ("rate", "training", "validation", "test"))
    same = np.isclose(rates, value, rtol=1e-3, atol=0)
    if not same.any():
        if any(np.isclose(column, value, rtol=0, atol=1e-6).any() for column in accuracies):
            wrong("That is an accuracy: the rate that reached it is asked for.")
        if value in range(len(rates)):
            wrong("That looks like the number of a row: the rate is asked for.")
        wrong(f"{value:g} was not tried, so nothing is known of it: take one from the table.")
    training, validation, test = accuracies
    chosen, best = int(same.argmax()), int(validation.argmax())
    error = (validation[best] * (1 - validation[best]) / images) ** 0.5
    as_good = validation[chosen] >= validation[best] - error
    if as_good and rates[chosen] <= rates[best]:
        return "Chosen on validation images. Within one standard error of the best, the smaller rate is the safer one."
    if chosen == test.argmax():
        wrong("That is the best one on the test images, which may not choose: afterwards they would flatter.")
    if chosen == training.argmax():
        wrong("That is the best one on the training images, which it may have learned by heart.")
    if as_good:
        wrong("It is as good as the best up to chance, but larger, and that is the dangerous side.")
    if rates[chosen] > rates[best]:
        wrong("It is too large: its validation accuracy is lower than the best by more than a standard error.")
    wrong("It is too small: its validation accuracy is lower than the best by more than a standard error.")


@check
def check_joined(whole, gap, *, lower, above, pixels) -> str:
    """One model from pixels that answers as its parts do, and the largest difference between the two."""
    _is_model(whole)
    pixels = np.asarray(pixels, "float32")
    expected, found = np.asarray(above(lower(pixels))), _outputs(whole, pixels)
    if found.ndim == 4:
        wrong(f"It still returns maps, {found.shape[1:]}: the part above the cut, or its end, is missing.")
    if found.shape != expected.shape:
        wrong(f"It returns {found.shape[1:]} per photograph, the parts {expected.shape[1:]}: is the head on top?")
    if not np.allclose(found, expected, atol=1e-3):
        if np.allclose(found, np.asarray(above(lower(pixels / 255))), atol=1e-3):
            wrong("The pixels are divided by 255 first, but the lower part scales them itself.")
        wrong("It answers differently from the parts: are they the trained ones, in their order, and nothing else?")
    value = np.asarray(gap)
    if value.dtype.kind == "b":
        wrong("The gap is True or False: how large is the difference?")
    if value.ndim or value.dtype.kind not in "iuf":
        wrong("The gap is not one number: take the largest of all differences.")
    if value < 0:
        wrong("The gap is negative: differences have two signs, and the largest in size is asked for.")
    if not value <= 1e-3:
        wrong("The model is right, but the gap is not: compare answers for the same photographs, in the same order.")
    return "From pixels it says what the parts say from kept activations: it can be saved and used alone."


@check
def check_cost(answers, seconds, chosen, *, labels, fewest: int = 3) -> str:
    """Several ways with their seconds; the choice is the cheapest of those that none beats by more than chance."""
    if isinstance(answers, Mapping) and not isinstance(seconds, Mapping):
        wrong(f"The seconds are {_a(seconds)}: a dictionary is asked for, from the name of a way to its seconds.")
    check_experiment.__wrapped__(answers, chosen, labels=labels, fewest=fewest)
    for name in answers:
        value = np.asarray(seconds.get(name, "missing"))
        if value.ndim or value.dtype.kind not in "iuf":
            wrong(f"There is no number of seconds for {name!r}.")
        if not 0 < value < np.inf:
            wrong(f"The seconds of {name!r} are {value:g}: take the time before and after, and subtract.")
    if len({float(seconds[name]) for name in answers}) < len(answers):
        wrong("Two ways took the very same time, to the last digit: take the time of each by itself.")
    runs = {name: _runs(name, value, np.asarray(labels), 1) for name, value in answers.items()}
    best = max(runs, key=lambda name: np.mean(runs[name].argmax(axis=-1) == labels))
    for name in answers:
        beaten = evaluation.paired_difference(labels, runs[best], runs[name]).resolved
        if seconds[name] < seconds[chosen] and not beaten:
            wrong(f"{name!r} takes fewer seconds than {chosen!r}, and no way beats it by more than chance.")
    return "Your choice is the cheapest of the ways that these photographs do not tell from the best."


# Pixels, losses and splits, introduced in lesson 05


@check
def check_preprocessing(model, *, network) -> str:
    """A model from raw RGB to the maps of ResNet50: blue, green and red, less ImageNet's mean colour, once."""
    _is_model(model)
    rgb, mean = _noise(network), np.array([103.939, 116.779, 123.68])  # of blue, green and red
    bgr = rgb[..., ::-1]

    def maps(pixels):
        return np.asarray(network(pixels.astype("float32")))

    found, expected = _outputs(model, rgb), maps(bgr - mean)
    if found.shape != expected.shape:
        wrong(f"It returns {found.shape[1:]}, the network {expected.shape[1:]}: return the network's maps.")

    def same(values):
        return np.abs(found - values).max() <= 1e-3 * np.abs(values).max()

    if same(expected):
        return "ResNet50 sees what it was trained on, and whoever uses the model gives it photographs as they are."
    mistakes = {
        "The pixels reach the network as they are: its preprocessing is missing.": rgb,
        "The pixels are divided by 255: that is another network's preprocessing.": rgb / 255,
        "The pixels are scaled to -1 to 1: that is another network's preprocessing.": rgb / 127.5 - 1,
        "The preprocessing is done twice.": (bgr - mean)[..., ::-1] - mean,
        "The colours are exchanged, but the mean colour is not subtracted.": bgr,
        "The mean colour is subtracted, but red and blue are not exchanged.": rgb - mean[::-1],
        "The mean of blue is subtracted from red, and that of red from blue: are the colours exchanged?": rgb - mean,
        "The colours are exchanged, and the mean colour as well: its order fits the colours before.": bgr - mean[::-1],
    }
    for message, pixels in mistakes.items():
        if same(maps(pixels)):
            wrong(message)
    wrong("The network sees other numbers than it was trained on. Which function of Keras belongs to ResNet50?")


@check
def check_cross_entropy(loss) -> str:
    """A function from logits and the right class to the cross-entropy, exact where the model is sure and wrong."""
    if not callable(loss):
        wrong(f"This is {_a(loss)}: a function of logits and label is asked for.")
    for logits, label in (([2.0, 1.0, 0.1], 1), ([-1.0, 3.0, 0.5, 0.0], 0), ([0.5, 2.5], 1)):
        logits = np.array(logits)
        found = np.asarray(_returned(loss(logits, label)), float)
        if found.ndim:
            wrong(f"It returns {found.size} numbers: the loss of one photograph is one number.")
        p = np.exp(logits) / np.exp(logits).sum()
        expected = -np.log(p[label])
        if np.isclose(found, expected, rtol=1e-4):
            continue
        mistakes = {
            "The sign is wrong: a loss is positive, and small where the model is right.": -expected,
            "That is the probability of the right class: the loss is its negative logarithm.": p[label],
            "This is a logarithm to the base 10: np.log is the natural one.": expected / np.log(10),
            "This is a logarithm to the base 2: np.log is the natural one.": expected / np.log(2),
            "That is the loss of the likeliest class, whichever is right. What is label for?": -np.log(p.max()),
            "It adds up the losses of all classes: only that of the right one counts.": -np.log(p).sum(),
            "That is the logit itself, with its sign turned: the softmax is missing.": -logits[label],
            "The softmax is applied twice: logits are no probabilities yet.": -np.log(
                np.exp(p[label]) / np.exp(p).sum()
            ),
        }
        for message, value in mistakes.items():
            if np.isclose(found, value, rtol=1e-4):
                wrong(message)
        wrong(f"For ordinary logits it gives {found:.4g}: that is not the negative logarithm of the right probability.")
    for logits, label, expected in (([0.0, 200.0], 0, 200.0), ([0.0, 2000.0, 0.0], 2, 2000.0), ([900.0, 0.0], 0, 0.0)):
        with np.errstate(all="ignore"):
            found = float(loss(np.array(logits), label))
        if np.isclose(found, expected, rtol=1e-4, atol=1e-6):
            continue
        if not np.isfinite(found):
            wrong(f"For the logits {logits} it gives {found}: np.exp of a large number, or the logarithm of 0.")
        if 5 < found < expected:
            wrong(
                "A small probability is cut off before the logarithm: where the model is sure and wrong, it says less."
            )
        wrong(f"For the logits {logits} it gives {found:.4g}: look at the difference of the logits.")
    return "Exact for logits of any size, because no probability is rounded to 0 on the way."


@check
def check_near_copies(near, *, hashes, others, limit: int) -> str:
    """Positions of the hashes that differ from one of the others in fewer than ``limit`` bits."""
    hashes, others, n = np.asarray(hashes, bool), np.asarray(others, bool), len(hashes)
    if np.ndim(near) == 0:
        wrong("One number is not enough: which of the pictures are near-copies? Give their positions.")
    found = _positions("answer", near, n)
    bits = _distances(hashes, others)
    nearest = bits.min(axis=1)
    expected = np.flatnonzero(nearest < limit)
    if not np.array_equal(np.sort(found), expected):
        for message, rows in {
            f"Pictures that differ in {limit} bits are counted too: fewer are asked for.": nearest <= limit,
            "These are the pictures that have no near-copy.": nearest >= limit,
            "None at all: near-copies differ in some bits. Which of the distances has to be small?": nearest < 0,
            "All of them: is each picture compared with itself, or are shares compared with bits?": nearest >= 0,
            "These are positions of the other pictures: whose near-copies are asked for?": bits.min(axis=0) < limit,
            "Each is compared with one other only, that at the same place in the list.": np.diag(bits) < limit,
        }.items():
            if np.array_equal(np.sort(found), np.flatnonzero(rows)):
                wrong(message)
    if missed := len(np.setdiff1d(expected, found)):
        wrong(f"Near-copies that are missing: {missed}. Compare each picture with all others.")
    if more := np.setdiff1d(found, expected).tolist():
        wrong(f"The picture at position {more[0]} has no near-copy: its nearest is {nearest[more[0]]} bits away.")
    return "These pictures cannot test whether a model knows new ones: it has seen nearly the same."


@returned_check
def check_grouped_split(train, validation, *, groups, labels, least: float, most: float) -> str:
    """Positions of training and validation photographs: no group is in both, and every class is."""
    groups, labels = np.asarray(groups), np.asarray(labels)
    parts = {"training": train, "validation": validation}
    parts = {name: _positions(f"{name} part", positions, len(labels)) for name, positions in parts.items()}
    if both := len(np.intersect1d(*parts.values())):
        wrong(f"{both} photographs are in both parts.")
    if left := len(labels) - sum(map(len, parts.values())):
        wrong(f"{left} photographs are in neither part.")
    if shared := len(np.intersect1d(*(groups[rows] for rows in parts.values()))):
        wrong(f"Groups that lie in both parts: {shared}. Draw whole groups, not photographs.")
    for name, rows in parts.items():
        if missing := sorted(set(labels.tolist()) - set(labels[rows].tolist())):
            wrong(f"Class {missing[0]} has no photograph in the {name} part: draw groups class by class.")
    share = len(parts["validation"]) / len(labels)
    if not least <= share <= most:
        wrong(f"{share:.0%} of the photographs are for validation: {least:.0%} to {most:.0%} are asked for.")
    return "No group is in both parts, so validation asks about pictures that are new in the way that matters."


@check
def check_early_stopping(stopped, kept, *, losses, patience: int) -> str:
    """The epoch after which early stopping ends a training, and the one whose weights it keeps, counted from 1."""
    pair = [np.asarray(value) for value in (stopped, kept)]
    if any(value.ndim or value.dtype.kind not in "iuf" for value in pair):
        wrong("Two numbers are asked for, both epochs.")
    found = tuple(float(value) for value in pair)
    losses = np.asarray(losses, float)
    expected = _stopping(losses, patience)
    end, best = expected
    if found == expected:
        return "Waiting is counted from the lowest value so far. What comes after the end nobody gets to see."
    if found == (best, end):
        wrong("The two are exchanged: a training ends after the epoch that it keeps.")
    if found in ((end - 1, best - 1), (end - 1, best), (end, best - 1)):
        wrong("Count epochs from 1, both of them: one is too small by one.")
    if found[0] == found[1]:
        wrong("The last epoch is not the best one: it only ended the waiting.")
    if found[1] == 1 + losses.argmin() != best:
        wrong("That is the lowest value of the whole curve, but the training had ended before it came.")
    if found[1] == 1 + losses[: int(end)].argmax():
        wrong("Those are the weights with the highest loss.")
    if found[1] != best:
        wrong("Other weights are kept: those of the lowest validation loss until the end.")
    if found[0] == len(losses):
        wrong("It does not run to the end of the curve: how long does it wait?")
    if found[0] == _stopping(losses, patience + 1)[0] or found[0] == end + 1:
        wrong("It does not wait as long as that: after how many epochs without a new lowest value is it over?")
    rises = np.diff(losses) > 0
    in_a_row = [i for i in range(patience, len(losses)) if rises[i - patience : i].all()]
    if in_a_row and found[0] == 1 + in_a_row[0]:
        wrong("The loss need not rise each time: an epoch counts as waiting if it brings no new lowest value.")
    if found[0] < end:
        wrong("It waits longer: a first rise does not end it.")
    wrong("It ends earlier: a fall counts only if it goes below the lowest value so far.")


# A folder of one's own, introduced in lesson 06


@check
def check_left_out(left_out, *, folder: Path) -> str:
    """Files to leave out: no photographs, tiny ones, copies but one, and the same photograph in two classes."""
    folder = Path(folder)
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    if isinstance(left_out, str):
        wrong("One name is not enough: a list of names is asked for.")
    paths = [Path(name) for name in left_out]
    found = {(path.relative_to(folder) if path.is_absolute() else path).as_posix() for path in paths}
    if strangers := sorted(found - set(files)):
        wrong(f"There is no file {strangers[0]!r}: give the class folder and the name, such as {next(iter(files))!r}.")
    sides = {name: _shorter_side(path) for name, path in files.items()}
    broken = {name for name, side in sides.items() if side == 0}
    tiny = {name for name, side in sides.items() if 0 < side < 32}
    if broken - found:
        wrong("A file that is no photograph is still used, whatever its name says: does each one open?")
    if tiny - found:
        wrong("A photograph of a few pixels is still used: look at the sizes.")
    same: dict[bytes, list[str]] = {}
    for name in files:
        if name not in broken | tiny:
            same.setdefault(files[name].read_bytes(), []).append(name)
    good = {names[0] for names in same.values() if len(names) == 1}
    for names in (names for names in same.values() if len(names) > 1):
        used = [name for name in names if name not in found]
        if len({Path(name).parent for name in names}) > 1:
            if used:
                wrong("The same photograph lies in two classes and is still used. Can you know which label is right?")
        elif not used:
            wrong("Of a file that is there twice, no copy is left: one of them is good.")
        elif len(used) > 1:
            wrong("A file is there twice in one class, byte by byte, and both are used.")
    if good & found:
        n = len(good & found)
        wrong(f"{n} good photographs are left out. (Near-copies are good too: they only have to stay together.)")
    return "What is left opens, is large enough, is there once, and has one label."


@returned_check
def check_groups(groups, *, hashes, limit: int) -> str:
    """A number for each photograph; those share it that near-copies join, directly or by others between them."""
    hashes, numbers = np.asarray(hashes, bool), np.asarray(groups)
    n = len(hashes)
    if numbers.shape == (n, n):
        wrong("This is a table of pairs: one number for each photograph is asked for.")
    if numbers.shape != (n,):
        wrong(f"One number for each of the {n} photographs is asked for; the shape is {numbers.shape}.")
    bits = _distances(hashes, hashes)
    linked, shared = bits < limit, numbers[:, np.newaxis] == numbers
    joined = linked.copy()
    for _ in range(n.bit_length()):
        joined = joined @ joined
    if np.array_equal(shared, joined):
        return "Whichever part a group goes into, it goes as a whole: no near-copy is left in another part."
    if shared.all():
        wrong("All share one number: photographs that no near-copies join need numbers of their own.")
    if len(np.unique(numbers)) == n:
        wrong("Every photograph is alone, but some are near-copies of one another.")
    if apart := np.argwhere(linked & ~shared).tolist():
        i, j = apart[0]
        wrong(
            f"The photographs {i} and {j} differ in {bits[i, j]} bits and have different numbers. "
            "Where two groups meet, they become one."
        )
    i, j = np.argwhere(shared & ~joined)[0]
    border = f" Exactly {limit} bits are not fewer than {limit}." if (bits[shared & ~joined] == limit).any() else ""
    wrong(f"The photographs {i} and {j} share a number, but no near-copies lead from one to the other.{border}")


@check
def check_strategy(strategy) -> str:
    """A function from photographs per class, likeness and number of classes to how many layers to unfreeze."""
    if not callable(strategy):
        wrong(f"This is {_a(strategy)}: a function of per_class, likeness and n_classes is asked for.")
    cases = {
        (50, 0.9, 5): "few", (50, 0.3, 5): "some", (5000, 0.9, 5): "few", (5000, 0.3, 5): "some",
        (50_000, 0.9, 5): "many", (50_000, 0.3, 5): "many", (50, 0.65, 2): "some", (50, 0.57, 20): "few",
    }  # fmt: skip
    found = {case: _returned(strategy(*case)) for case in cases}
    for answer in found.values():
        if not isinstance(answer, str) or answer not in ("few", "some", "many"):
            wrong(f"It returns {answer!r}: one of 'few', 'some' and 'many' is asked for.")
    if len(set(found.values())) == 1:
        wrong(f"It says {found[50, 0.9, 5]!r} whatever it is given.")
    if (found[50, 0.9, 5], found[50, 0.3, 5]) == ("some", "few"):
        wrong("The columns are exchanged: the less a target resembles the source, the more layers have to change.")
    if "many" in (found[50, 0.9, 5], found[50, 0.3, 5]):
        wrong("With 50 photographs per class it says 'many': so many weights would learn them by heart.")
    if "many" in (found[5000, 0.9, 5], found[5000, 0.3, 5]):
        wrong("5,000 photographs per class are not much data yet in the table: look at its rows.")
    if {found[50_000, 0.9, 5], found[50_000, 0.3, 5]} != {"many"}:
        wrong("With 50,000 photographs per class all layers can learn, whatever the likeness: look at the last row.")
    if found[50, 0.65, 2] != "some":
        wrong("Of two classes a guess names every second one, so a likeness of 65 % is low: the limit depends on that.")
    if found[50, 0.57, 20] != "few":
        wrong(
            "Of twenty classes a guess names one in twenty, so a likeness of 57 % is high: the limit depends on that."
        )
    if missed := next((case for case in cases if found[case] != cases[case]), None):
        wrong(f"For {missed[0]} per class, a likeness of {missed[1]} and {missed[2]} classes the table says otherwise.")
    return "Few photographs and a familiar target: few layers. The limit of likeness rises with the chance of a guess."


@check
def check_calibration(error, verdict, *, labels, probabilities, bins: int) -> str:
    """The expected calibration error, and whether the model is too sure or not sure enough."""
    labels, probabilities, value = np.asarray(labels), np.asarray(probabilities), np.asarray(error)
    if value.ndim or value.dtype.kind not in "iuf":
        wrong("The error is to be one number: the mean gap, weighted by photographs.")
    curve = evaluation.calibration(labels, probabilities, bins)
    gaps, sure = curve.confidence - curve.accuracy, probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    of_right_class = probabilities[np.arange(len(labels)), labels]
    mistakes = {
        "These are per cent: give the error between 0 and 1.": 100 * curve.error,
        "All bins weigh the same here: a bin with few photographs must weigh little.": np.abs(gaps).mean(),
        "Gaps above and below cancel each other here: take their size before the mean.": np.abs(
            np.average(gaps, weights=curve.images)
        ),
        "Gaps above and below cancel each other here, and the sign is left.": np.average(gaps, weights=curve.images),
        "That is the share of wrong answers: compare confidence and accuracy, bin by bin.": 1 - right.mean(),
        "That is the mean confidence: how far is it from the accuracy, bin by bin?": sure.mean(),
        "That is the largest gap: the mean over the photographs is asked for.": np.abs(gaps).max(),
        "That uses the probability of the right class: a model only knows the one it predicts.": _calibration_error(
            of_right_class, right, bins
        ),
    }
    if not np.isclose(value, curve.error, atol=6e-4):
        for message, other in mistakes.items():
            if np.isclose(value, other, atol=1e-4):
                wrong(message)
        wrong(f"The error is another one. Are there {bins} equally wide bins from 0 to 1, by the largest probability?")
    too_sure = bool(sure.mean() > right.mean())
    words = str(verdict).lower()
    if ("over" in words) == ("under" in words):
        wrong(f"{verdict!r} is no verdict: is it 'overconfident' or 'underconfident'?")
    if ("over" in words) != too_sure:
        wrong("The verdict is the wrong way round: compare the mean confidence with the accuracy.")
    return "The error says how far confidence and accuracy lie apart, the verdict on which side."


@check
def check_agreement(same, largest, *, first, second, labels) -> str:
    """How many photographs get the same class from two files, and the largest difference of probabilities."""
    first, second = np.asarray(first, float), np.asarray(second, float)
    a, b, n = first.argmax(axis=1), second.argmax(axis=1), len(first)
    values = [np.asarray(value) for value in (same, largest)]
    if any(value.ndim or value.dtype.kind not in "iuf" for value in values):
        wrong("Two numbers are asked for: a count, and a difference.")
    x, y = (float(value) for value in values)
    count, gap = int(np.sum(a == b)), np.abs(first - second).max()
    if np.isclose(y, count) and np.isclose(x, gap, rtol=1e-3):
        wrong("The two are exchanged: the count comes first.")
    if x != count:
        mistakes = {
            "That is the share: count the photographs.": count / n,
            "That counts the photographs whose class changes.": n - count,
            "That compares with the labels: whether the files agree does not depend on who is right.": np.sum(
                a == labels
            ),
            "That is how often the second file is right: compare the two files.": np.sum(b == labels),
            "Probabilities are compared there, and rounding changes nearly all of them: compare the classes.": np.sum(
                first == second
            ),
        }
        for message, value in mistakes.items():
            if np.isclose(x, value):
                wrong(message)
        wrong(f"Not that many: for how many of the {n} photographs is the likeliest class the same?")
    if not np.isclose(y, gap, rtol=1e-3, atol=1e-7):
        if np.isclose(y, np.abs(first - second).mean(), rtol=1e-3):
            wrong("That is the mean difference: the largest is asked for, it shows what may happen.")
        if np.isclose(y, (first - second).max(), rtol=1e-3) or np.isclose(y, (first - second).min(), rtol=1e-3):
            wrong("Differences have two signs: take their size before the largest.")
        if np.isclose(y, np.abs(first.max(axis=1) - second.max(axis=1)).max(), rtol=1e-3):
            wrong("Only the likeliest class is compared there: all probabilities are asked for.")
        wrong("The largest difference is another one: subtract photograph by photograph, and class by class.")
    return "No answer can change where the two likeliest classes lie more than twice that difference apart."


@check
def check_class_names(names, *, probabilities, folders) -> str:
    """Names in the order of a model's outputs, judged by photographs whose folder is known."""
    if isinstance(names, str):
        wrong("One name is not enough: one for each output is asked for.")
    found, folders, known = [str(name) for name in names], np.asarray(folders), sorted(set(folders))
    columns = np.asarray(probabilities).shape[1]
    if len(found) != columns:
        wrong(f"There are {len(found)} names for {columns} outputs.")
    if strangers := [name for name in found if name not in known]:
        near = [name for name in known if name.lower() == strangers[0].lower()]
        wrong(f"There is no folder {strangers[0]!r}" + (": mind the capitals." if near else "."))
    if len(set(found)) < columns:
        wrong(f"{max(found, key=found.count)!r} stands there twice: each output has a name of its own.")
    means = np.array([np.asarray(probabilities)[folders == name].mean(axis=0) for name in known])
    expected = [known[row] for row in means.argmax(axis=0)]
    if found == expected:
        return "Capitals come first, as Python and Keras sort. With the names in the model's file nobody has to guess."
    if found == expected[::-1]:
        wrong("The order is turned round: the first name belongs to the first output.")
    if found == sorted(known, key=str.lower):
        wrong("That order takes no notice of capitals. Python does when it sorts, and so does Keras.")
    named = np.mean(np.array(found)[np.asarray(probabilities).argmax(axis=1)] == folders)
    by = "at most a few" if named < 0.5 else "not all"
    wrong(f"Of the photographs {by} get the name of their folder: in which order does Keras number the folders?")


@check
def check_results_table(table, *, answers, labels) -> str:
    """A table with one row per way: accuracy, the ends of its 95 % interval, and the number of photographs."""
    if not isinstance(answers, Mapping) or not answers:
        raise _EmptyError
    if not hasattr(table, "columns"):
        wrong(f"This is {_a(table)}: a pandas.DataFrame is asked for, with one row for each way.")
    for column in ("accuracy", "low", "high", "photographs"):
        if column not in table.columns:
            wrong(f"The column {column!r} is missing.")
    if missing := [name for name in answers if name not in table.index]:
        wrong(f"The row {missing[0]!r} is missing: each way needs one, the worse ones too.")
    for name, value in answers.items():
        run = _runs(name, value, np.asarray(labels), 1)[0]
        right, n = int(np.sum(run.argmax(axis=1) == labels)), len(labels)
        ends = np.array(evaluation.Proportion(right, n).interval)
        row = [float(table.loc[name, column]) for column in ("accuracy", "low", "high", "photographs")]
        accuracy, low, high, photographs = row
        if photographs != n:
            wrong(f"{name!r} was measured on {n} photographs, not on {photographs:g}.")
        if accuracy > 1.5:
            wrong("The accuracies are per cent: give proportions, from 0 to 1, and the ends likewise.")
        if not np.isclose(accuracy, right / n, atol=1e-3):
            wrong(f"The accuracy of {name!r} is not that of its answers: are the rows in the order of the ways?")
        if low > high:
            wrong("The ends of an interval are exchanged: low comes first.")
        half = 1.96 * (accuracy * (1 - accuracy) / n) ** 0.5
        if np.isclose(low, high):
            wrong("The interval has no width: how sure is an accuracy of so few photographs?")
        if np.allclose((low, high), ends, atol=2e-3):
            continue
        if np.allclose((low, high), (accuracy - half, accuracy + half), atol=2e-3):
            wrong("That is the simpler normal interval: take evaluation's, which holds near 0 and 1 too.")
        wrong(f"The interval of {name!r} is not the 95 % interval of its accuracy: evaluation.accuracy gives it.")
    return "Each way with its interval and its number of photographs: a reader can see what is chance."


# What the checks share


def _mentions(words: str, proportion: float) -> bool:
    """Whether a text gives a proportion in points, rounded or not, with its sign or without."""
    numbers = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", words)]
    return any(abs(number - abs(100 * proportion)) < 0.55 for number in numbers)


def _is_model(model) -> None:
    if not (hasattr(model, "weights") and hasattr(model, "layers")):
        wrong(f"This is {_a(model)}: a keras.Model is asked for.")


def _is_built(model) -> None:
    if not getattr(model, "built", True):
        wrong("The model does not know the shape of its input yet: let it begin with keras.Input.")


def _outputs(model, pixels: np.ndarray) -> np.ndarray:
    """What a model returns for pixels; it is built by this if it was not."""
    try:
        return np.asarray(model(pixels))
    except Exception as error:  # Keras and TensorFlow raise much when shapes do not fit
        wrong(f"It does not take pixels of {pixels.shape[1:]} ({type(error).__name__}): where does it begin?")


def _a(thing: object) -> str:
    name = type(thing).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _compiled(model) -> None:
    if not getattr(model, "compiled", False):
        wrong("The model is not compiled: it has no loss and no optimizer yet.")


def _size(weights) -> int:
    return sum(int(np.prod(weight.shape)) for weight in weights)


def _normalises(layer) -> bool:
    return type(layer).__name__ == "BatchNormalization"


def _noise(model) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (4, *model.input_shape[1:])).astype("float32")


def _received(model, layer, pixels: np.ndarray) -> np.ndarray:
    """What reaches a layer inside a model that is given pixels."""
    received, call = [], layer.call

    def watching(inputs, *others, **options):
        received.append(np.asarray(inputs))
        return call(inputs, *others, **options)

    object.__setattr__(layer, "call", watching)  # Keras tracks what is set in the ordinary way
    try:
        model(pixels)
    finally:
        object.__delattr__(layer, "call")
    return received[0]


def _chain(model, whole) -> Iterator:
    """The layers of a chain in order, those of models inside it too, but not what is inside ``whole``."""
    for layer in model.layers:
        if layer is not whole and hasattr(layer, "layers"):
            yield from _chain(layer, whole)
        elif type(layer).__name__ != "InputLayer":
            yield layer


def _kind_of_output(outputs: np.ndarray) -> str:
    """What a classifier returns, judged by its values."""
    if outputs.min() < 0:
        return "logits"
    if outputs.shape[-1] > 1 and np.allclose(outputs.sum(axis=-1), 1, atol=1e-2):
        return "probabilities"
    if outputs.shape[-1] == 1 and np.all(outputs == 1):
        return "all 1, as the softmax of a single number is"
    return "sigmoids" if outputs.max() <= 1 else "positive numbers without a limit"


def _output_and_loss(model, n_classes: int) -> str:
    """Complain unless output, loss and class numbers fit one another."""
    units = model.output_shape[-1]
    if units != n_classes and not (n_classes == 2 and units == 1):
        wrong(f"The last layer has the size {units}, but there are {n_classes} classes.")
    loss = model.loss  # a name, a function, or an object
    name = getattr(loss, "name", None) or getattr(loss, "__name__", str(loss))
    name = re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()
    expected = "binary_crossentropy" if units == 1 else "sparse_categorical_crossentropy"
    if name == "categorical_crossentropy":
        wrong("The loss expects one-hot rows, and the labels are class numbers. Which loss takes numbers?")
    if name != expected:
        count = "one output" if units == 1 else f"{units} outputs"
        wrong(f"The loss {name} does not fit {count} and labels that are class numbers.")
    inputs = np.random.default_rng(0).normal(0, 100, (16, *model.input_shape[1:])).astype("float32")
    kind = _kind_of_output(np.asarray(model(inputs)))
    right_kind = "sigmoids" if units == 1 else "probabilities"
    from_logits = hasattr(loss, "get_config") and bool(loss.get_config().get("from_logits"))
    if kind == right_kind and from_logits:
        wrong("The output is probabilities already, and from_logits=True would apply the softmax twice.")
    if kind == "logits" and not from_logits:
        wrong("The output is logits, numbers of any size, but the loss expects probabilities.")
    if kind not in (right_kind, "logits"):
        wrong(f"The outputs are {kind}, but one of the classes is to be chosen: look at the last activation.")
    return f"{units} outputs, {'logits' if from_logits else 'probabilities'}, and a loss that expects just these."


def _inverted(augmentation, size: int) -> np.ndarray:
    """In which of 64 copies of a picture, light in the middle and dark around it, the middle is darker."""
    across = np.abs(np.linspace(-1, 1, size, dtype="float32"))
    picture = 255 * (1 - np.maximum(across, across[:, np.newaxis]))
    pictures = np.tile(picture[np.newaxis, :, :, np.newaxis], (64, 1, 1, 3))
    copies = np.asarray(augmentation(pictures, training=True)).mean(axis=3)
    quarter = size // 4
    middle = copies[:, quarter : size - quarter, quarter : size - quarter].mean(axis=(1, 2))
    return middle < copies.mean(axis=(1, 2)) - 5


def _tilts(augmentation, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Degrees by which 64 copies of a picture, light above and dark below, are turned, and the width they show."""
    slope = np.linspace(255, 0, size, dtype="float32")
    pictures = np.tile(slope[:, np.newaxis, np.newaxis], (64, 1, size, 3))
    copies = np.asarray(augmentation(pictures, training=True))
    middle = copies[:, size // 4 : size - size // 4, size // 4 : size - size // 4].mean(axis=3)
    half = middle.shape[1] // 2
    down = middle[:, :half].mean(axis=(1, 2)) - middle[:, -half:].mean(axis=(1, 2))
    across = middle[:, :, :half].mean(axis=(1, 2)) - middle[:, :, -half:].mean(axis=(1, 2))
    unchanged = 255 / (size - 1) * half
    return np.degrees(np.arctan2(np.abs(across), down)), np.hypot(across, down) / unchanged


def _runs(name: str, value: object, labels: np.ndarray, seeds: int) -> np.ndarray:
    """Probabilities of one way, ``(seeds, n, classes)``, if they are well-formed."""
    run, n_classes = np.asarray(_entered(value)), int(labels.max()) + 1
    if run.ndim == 0:
        wrong(f"{name!r} is one number: keep the probabilities, to compare photograph by photograph.")
    if run.dtype.kind not in "iuf":
        wrong(f"{name!r} does not hold numbers, but {_a(value)}: give the probabilities that predict returned.")
    if run.ndim == 1:
        wrong(f"{name!r} holds one number per photograph: give a probability for each of the {n_classes} classes.")
    run = run[np.newaxis] if run.ndim == 2 else run
    if run.shape[1] != len(labels):
        wrong(f"{name!r} answers for {run.shape[1]} photographs, but {len(labels)} are for validation.")
    if run.shape[2] != n_classes:
        wrong(f"{name!r} has {run.shape[2]} columns for {n_classes} classes.")
    if not np.isfinite(run).all():
        wrong(f"{name!r} holds values that are not numbers: the training has diverged.")
    if run.min() < -1e-6 or not np.allclose(run.sum(axis=-1), 1, atol=1e-2):
        wrong(f"{name!r} does not hold probabilities: each row must sum to 1.")
    if len(run) < seeds:
        wrong(f"{name!r} was trained {len(run)} time: train {seeds} times, each with a seed of its own.")
    return run


def _wilson(correct: int, total: int, z: float) -> tuple[float, float]:
    p, n = correct / total, total
    centre, half = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    return (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)


def _cuts(network, name: str) -> bool:
    """Whether all that lies above a layer can be computed from its output alone: no path from the input goes past it.

    Followed by hand, since some versions of Keras build a model that is cut inside a block without a word.
    """
    layer, waiting, seen = network.get_layer(name), list(network.outputs), set()
    while waiting:
        operation, node, _ = waiting.pop()._keras_history
        if operation is layer or (id(operation), node) in seen:
            continue
        seen.add((id(operation), node))
        before = operation._inbound_nodes[node].input_tensors
        if not before:  # the network's own input
            return False
        waiting += before
    return True


def _weights_but_norms(layers) -> list:
    return [weight for layer in layers if not _normalises(layer) for weight in layer.weights]


def _positions(name: str, positions, n: int) -> np.ndarray:
    """Positions of some of ``n`` photographs, from positions or a mask."""
    positions = np.asarray(positions)
    if positions.dtype == bool and positions.shape == (n,):
        positions = np.flatnonzero(positions)
    if positions.size == 0:
        return np.array([], int)
    if positions.ndim != 1 or positions.dtype.kind not in "iu":
        wrong(f"The {name} is no list of positions: whole numbers from 0 to {n - 1} are asked for.")
    if not 0 <= positions.min() <= positions.max() < n:
        wrong(f"The {name} has the position {positions.max()}, but the last one is {n - 1}.")
    if len(set(positions.tolist())) < len(positions):
        wrong(f"The {name} holds a photograph twice.")
    return positions


def _distances(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Number of bits in which each hash differs from each other one."""
    hashes, others = hashes.astype(int), others.astype(int)
    return hashes @ (1 - others).T + (1 - hashes) @ others.T


def _stopping(losses: np.ndarray, patience: int) -> tuple[int, int]:
    """The last epoch and the best one of early stopping, counted from 1."""
    best = 0
    for epoch, loss in enumerate(losses):
        if loss < losses[best]:
            best = epoch
        if epoch - best >= patience:
            return epoch + 1, best + 1
    return len(losses), best + 1


def _calibration_error(sure: np.ndarray, right: np.ndarray, bins: int) -> float:
    number = np.minimum((sure * bins).astype(int), bins - 1)
    rows = [number == each for each in np.unique(number)]
    return float(sum(abs(sure[row].mean() - right[row].mean()) * row.mean() for row in rows))


def _shorter_side(path: Path) -> int:
    """The shorter side of a photograph in pixels; 0 if it does not open."""
    try:
        with Image.open(path) as image:
            image.load()
            return min(image.size)
    except Exception:  # Pillow's decoders raise nearly every kind of error on damaged files
        return 0
