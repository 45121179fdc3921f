"""helpers/checks.py and helpers/quiz.py: for each exercise right answers, and wrong ones with their message.

The first right answer of an exercise is that of its solution notebook, with a tiny network in place of the real one.
"""

import dataclasses
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers import checks, evaluation, models, quiz

SIZE, CLASSES = 8, 3
CUT = "block1_bn"


@dataclasses.dataclass
class Exercise:
    """A check, what the exercise gives it, right answers, and wrong answers with what the message must say.

    Answers are functions of what is given, which is made anew for each; they return one answer, or a tuple of them.
    """

    check: Callable[..., checks.Verdict]
    given: Callable[[], dict]
    right: list[Callable]
    wrong: list[tuple[Callable, str]]

    def examine(self, answer):
        given = self.given()
        answers = answer(given)
        return self.check(*(answers if isinstance(answers, tuple) else (answers,)), **given)


# Tiny networks


def backbone(seed=0):
    """Three convolutions with BatchNormalization: 8 × 8 pixels to maps of 4 × 4 × 6."""
    keras.utils.set_random_seed(seed)
    x = image = keras.Input((SIZE, SIZE, 3))
    for n, (filters, strides) in enumerate(((4, 2), (5, 1), (6, 1)), start=1):
        x = keras.layers.Conv2D(filters, 3, strides, padding="same", name=f"block{n}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"block{n}_bn")(x)
    return keras.Model(image, x, name="tiny")


def pooled(network):
    return keras.Model(network.input, keras.layers.GlobalAveragePooling2D()(network.output))


def chain(*layers):
    return keras.Sequential([keras.Input((SIZE, SIZE, 3)), *layers])


def frozen(network):
    network.trainable = False
    return network


def classifier(network, *head):
    return chain(network, keras.layers.GlobalAveragePooling2D(), *head)


def dense(units=CLASSES, activation="softmax"):
    return keras.layers.Dense(units, activation=activation)


def all_frozen(model):
    model.trainable = False
    return model


def frozen_one_by_one(network):
    for layer in network.layers:
        layer.trainable = False
    return network


def half_frozen(network):
    network.get_layer("block3_conv").trainable = True
    return network


def compiled(output, loss, **options):
    model = keras.Sequential([keras.Input((5,)), *(output if isinstance(output, list) else [output])])
    model.compile("adam", loss=loss, **options)
    return model


def set_trainable(network, chosen):
    network.trainable = True
    for i, layer in enumerate(network.layers):
        layer.trainable = chosen(i, layer)
    return network


def loop_alone(network):
    for i, layer in enumerate(network.layers):
        layer.trainable = above(i) and not normalises(layer)
    return network


def above(i, network=None):
    return i > 2  # the input, block1_conv and block1_bn


def normalises(layer):
    return isinstance(layer, keras.layers.BatchNormalization)


class Mirrored(keras.layers.Layer):
    """Mirrors each photograph in training, without chance."""

    def call(self, images, training=False):
        return keras.ops.flip(images, axis=2) if training else images


class Fitted:
    """Stands for a model whose validation loss is known."""

    weights = layers = ()

    def __init__(self, loss):
        self.loss = loss

    def evaluate(self, features, labels, verbose, return_dict):
        return {"loss": self.loss}


def history(*losses):
    return {"loss": [0.1] * len(losses), "val_loss": list(losses)}


STOPPED = (1.0, 0.6, 0.5, 0.55, 0.6)
LATE = (*np.linspace(1, 0.4, 15), 0.5, 0.6, 0.7, 0.8, 0.9)


def phase_2(given, loss="binary_crossentropy", rate=1e-4, unfreeze=above, compile_it=True, output="sigmoid", held=True):
    """The model of phase 1, which was trained on the frozen backbone, made ready for phase 2 or not."""
    network = given["backbone"]
    frozen(network)
    given["head"].activation = keras.activations.get(output)
    model = classifier(network, given["head"])
    model.compile(keras.optimizers.Adam(given["head_rate"]), loss="binary_crossentropy")
    model.optimizer.build(model.trainable_variables)  # as the first step of training does
    if unfreeze:
        set_trainable(network, lambda i, layer: unfreeze(i) and not (held and normalises(layer)))
    if compile_it:
        model.compile(keras.optimizers.Adam(rate) if isinstance(rate, float) else rate, loss=loss)
    return model


# Made-up data

LABELS = np.repeat(np.arange(4), 15)  # class by class, as files are listed


def stratified(seed=0, fraction=0.2):
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(np.flatnonzero(c == LABELS)) for c in range(4)]
    n = round(fraction * 15)
    return np.concatenate([order[n:] for order in orders]), np.concatenate([order[:n] for order in orders])


def in_order(step):
    """The first photographs of each class for validation, or the last."""
    drawn = np.concatenate([np.flatnonzero(c == LABELS)[::step][:3] for c in range(4)])
    return np.setdiff1d(np.arange(60), drawn), drawn


def as_masks(train, validation):
    return np.isin(np.arange(60), train), np.isin(np.arange(60), validation)


def unbalanced():
    drawn = np.concatenate([np.flatnonzero(c == LABELS)[:n] for c, n in enumerate((6, 2, 2, 2))])
    return np.setdiff1d(np.arange(60), drawn), drawn


KNOWN = np.tile(np.arange(CLASSES), 30)


def chances(right, seed=0):
    """Probabilities for 90 photographs, a share of which is right."""
    rng = np.random.default_rng(seed)
    answers = np.where(rng.random(90) < right, KNOWN, (KNOWN + 1) % CLASSES)
    noise = rng.uniform(0, 0.2, (90, CLASSES))
    values = np.eye(CLASSES)[answers] + noise
    return values / values.sum(axis=1, keepdims=True)


FIRST, SECOND = chances(0.8, 1), chances(0.6, 2)
RIGHT_FIRST, RIGHT_SECOND = FIRST.argmax(1) == KNOWN, SECOND.argmax(1) == KNOWN
GOOD, POOR = chances(0.9, 3), chances(0.4, 5)
FAIR = np.concatenate([chances(0, 6)[:2], 0.9 * GOOD[2:] + 0.1 / CLASSES])  # at most two photographs worse
DIFFERENT, OPEN = evaluation.paired_difference(KNOWN, GOOD, POOR), evaluation.paired_difference(KNOWN, GOOD, FAIR)
ROUNDED = "{:.0f} points, {:.0f} to {:.0f}".format(*(100 * value for value in (OPEN.value, *OPEN.interval)))
NOTE = {
    "question": "Does pretraining help?",
    "changed": "the weights",
    "kept the same": "photographs, classifier and penalty",
    "measured on": "validation",
    "photographs": 90,
    "resolved": False,
    "result": str(OPEN),
}

DOGS = np.array([0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.55, 0.45, 0.4, 0.35])
CATS = np.array([0.75, 0.42, 0.38, 0.34, 0.3, 0.25, 0.2, 0.1, 0.1, 0.05])
CURVES = {
    "loss": [0.7, 0.5, 0.4, 0.3, 0.2, 0.1],
    "accuracy": [0.5, 0.7, 0.8, 0.9, 0.95, 0.99],
    "val_loss": [0.8, 0.55, 0.5, 0.6, 0.7, 0.75],
    "val_accuracy": [0.5, 0.7, 0.7, 0.75, 0.7, 0.7],
}


def wilson(correct, total, z=1.96, divided=True):
    p, n = correct / total, total
    centre, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    ends = np.array([centre - half, centre + half])
    return tuple(ends / (1 + z**2 / n) if divided else ends)


def normal(correct, total):
    p = correct / total
    half = 1.96 * np.sqrt(p * (1 - p) / total)
    return p - half, p + half


layers = keras.layers
sparse = keras.losses.SparseCategoricalCrossentropy
HUB = "hub"


# Lessons 04 to 06: networks, splits and folders


def residual():
    """Two blocks with shortcuts between two convolutions; 370 weights lie above the first, BatchNormalization aside."""
    x = image = keras.Input((SIZE, SIZE, 3))
    x = layers.BatchNormalization(name="block1_bn")(layers.Conv2D(4, 3, padding="same", name="block1_conv")(x))
    for n in (2, 3):
        y = layers.Conv2D(4, 3, padding="same", name=f"block{n}_conv")(x)
        y = layers.BatchNormalization(name=f"block{n}_bn")(y)
        x = layers.ReLU(name=f"block{n}_relu")(layers.Add(name=f"block{n}_add")([x, y]))
    return keras.Model(image, layers.Conv2D(6, 3, name="block4_conv")(x))


def partly_still():
    """A network in which some BatchNormalization layers are held still, or seem to be."""
    x = image = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(4, 3, name="conv")(x)
    x = layers.BatchNormalization(name="told")(x, training=False)
    x = layers.BatchNormalization(name="plain")(x)
    x = layers.BatchNormalization(name="frozen", trainable=False)(x)
    return keras.Model(image, layers.LayerNormalization(name="other")(x))


def measured_moves(network):
    norms = [layer for layer in network.layers if normalises(layer)]
    before = [layer.moving_mean.numpy() for layer in norms]
    network.compile(keras.optimizers.SGD(0.0), "mse")
    network.fit(np.full((8, SIZE, SIZE, 3), 200.0), np.zeros((8, 6, 6, 4)), verbose=0)
    moved = [not np.array_equal(a, layer.moving_mean.numpy()) for a, layer in zip(before, norms, strict=True)]
    return [layer.name for layer, changed in zip(norms, moved, strict=True) if changed]


def cosine(step, steps, highest):
    return highest * (1 + np.cos(np.pi * step / steps)) / 2


SWEEP = pd.DataFrame(
    {
        "rate": [1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1],
        "training": [0.74, 0.86, 0.93, 0.98, 0.99, 1.0, 0.3],
        "validation": [0.70, 0.748, 0.776, 0.78, 0.775, 0.71, 0.31],
        "test": [0.69, 0.75, 0.77, 0.765, 0.76, 0.775, 0.3],
    }
)
SWEEP.loc[4, "test"] = 0.79


def parts(seed=0):
    """A lower part, what lies above it with a head, and some pixels."""
    network = backbone(seed)
    lower = keras.Model(network.input, network.get_layer("block1_bn").output)
    upper = keras.Model(lower.output, network.output)
    above = keras.Sequential([upper, layers.GlobalAveragePooling2D(), dense()])
    above(np.zeros((1, *lower.output.shape[1:])))
    rng = np.random.default_rng(0)
    above.set_weights([rng.normal(0, 0.02, w.shape) if w.ndim > 1 else w for w in above.get_weights()])
    return dict(lower=lower, above=above, pixels=rng.integers(0, 256, (5, SIZE, SIZE, 3), np.uint8))


def joined(given, **options):
    return keras.Sequential([given["lower"], *given["above"].layers], **options)


SECONDS = {"frozen": 2.5, "few": 9.0, "some": 14.5}
TRIED = {"frozen": POOR, "few": FAIR, "some": GOOD}
EQUAL = {"frozen": FAIR, "few": GOOD, "some": chances(0.85, 8)}

MEAN = np.array([103.939, 116.779, 123.68])


def caffe(given, order=-1, mean=MEAN, scale=1.0):
    image = keras.Input((SIZE, SIZE, 3))
    pixels = layers.Rescaling(scale, offset=0.0 if mean is None else [-value for value in mean])(image[..., ::order])
    return keras.Model(image, given["network"](pixels))


def exact_loss(logits, label):
    return np.log(np.sum(np.exp(logits - np.max(logits)))) + np.max(logits) - logits[label]


def softmax(logits):
    return np.exp(logits) / np.sum(np.exp(logits))


def clipped_loss(logits, label):
    return -np.log(np.clip(softmax(logits - np.max(logits)), 1e-7, 1)[label])


def some_hashes(seed, n):
    return np.random.default_rng(seed).random((n, 256)) < 0.5


def turned(bits, n):
    """A hash of which the first ``n`` bits are turned over."""
    bits = bits.copy()
    bits[:n] = ~bits[:n]
    return bits


TRAINING, TEST = some_hashes(1, 12), some_hashes(2, 6)
TEST[1], TEST[4], TEST[5] = turned(TRAINING[7], 12), turned(TRAINING[2], 29), turned(TRAINING[9], 30)
TRAINING[0] = turned(TEST[0], 20)
NEAR = np.flatnonzero([np.sum(bits != TRAINING, axis=1).min() < 30 for bits in TEST])

FILM = np.repeat(np.arange(8), (5, 3, 4, 2, 6, 3, 4, 3))  # two films of each of four kinds
KIND = FILM // 2


def by_film(validation, n=30):
    rows = np.arange(n)
    return rows[~np.isin(FILM[rows], validation)], rows[np.isin(FILM[rows], validation)]


STOPS = (0.9, 0.7, 0.6, 0.63, 0.58, 0.62, 0.6, 0.61, 0.65, 0.7, 0.72, 0.4, 0.5)

SHOTS = some_hashes(3, 4)
BURST = np.stack([*SHOTS[:2], turned(SHOTS[0], 40), turned(SHOTS[0], 20), *SHOTS[2:], turned(SHOTS[3], 30)])


def table_of_strategies(per_class, likeness, n_classes, limit=None, much=10_000):
    limit = (1 + 1 / n_classes) / 2 if limit is None else limit
    return "many" if per_class > much else "few" if likeness > limit else "some"


def with_confidence(*runs):
    """Probabilities for the first photographs: so many, so sure, so many of them right."""
    sure = np.concatenate([np.full(n, confidence) for n, confidence, _ in runs])
    right = np.concatenate([np.arange(n) < n_right for n, _, n_right in runs])
    values = np.tile(((1 - sure) / (CLASSES - 1))[:, np.newaxis], CLASSES)
    values[np.arange(len(sure)), np.where(right, KNOWN, (KNOWN + 1) % CLASSES)] = sure
    return values


SURE = with_confidence((50, 0.95, 30), (20, 0.42, 20), (20, 0.58, 6))
CALIBRATED = evaluation.calibration(KNOWN, SURE, 5)
GAPS = CALIBRATED.confidence - CALIBRATED.accuracy
TOO_SURE = "overconfident"


def error_by(chances_of):
    """The calibration error, if confidence were another probability than the largest."""
    number = np.minimum((5 * chances_of).astype(int), 4)
    right = SURE.argmax(axis=1) == KNOWN
    rows = [number == each for each in np.unique(number)]
    return sum(abs(chances_of[row].mean() - right[row].mean()) * row.mean() for row in rows)


CHANGED = np.concatenate([FIRST[:6, [1, 2, 0]], FIRST[6:]])
AGREEING = 84
FARTHEST = float(np.abs(FIRST - CHANGED).max())
FOLDERS = np.array(["Cucumber", "carrot", "onion"])[KNOWN]
NAMES = ["Cucumber", "carrot", "onion"]


def results(**changed):
    rows = {}
    for name, answers in TRIED.items():
        found = evaluation.accuracy(KNOWN, answers)
        rows[name] = dict(accuracy=found.value, low=found.interval[0], high=found.interval[1], photographs=found.total)
    return pd.DataFrame(rows).T.assign(**changed)


def normal_ends():
    ends = [
        normal(found.correct, found.total) for found in (evaluation.accuracy(KNOWN, each) for each in TRIED.values())
    ]
    return np.array(ends).T


TEMPORARY = tempfile.TemporaryDirectory()
SPOILT = Path(TEMPORARY.name)  # a note, a tiny photograph, a file that is there twice, and one that lies in two classes
for number, name in enumerate(("carrot", "garlic")):
    (SPOILT / name).mkdir()
    for i in range(3):
        pixels = np.random.default_rng(3 * number + i).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(SPOILT / name / f"{i}.png")
(SPOILT / "garlic" / "note.jpg").write_text("a note")
Image.fromarray(np.zeros((20, 60, 3), np.uint8)).save(SPOILT / "carrot" / "tiny.png")
shutil.copy(SPOILT / "carrot" / "1.png", SPOILT / "carrot" / "again.png")
shutil.copy(SPOILT / "carrot" / "2.png", SPOILT / "garlic" / "other.png")
BAD = ["garlic/note.jpg", "carrot/tiny.png", "carrot/again.png", "carrot/2.png", "garlic/other.png"]


def without(name):
    return [each for each in BAD if each != name]


EXERCISES = {
    "01-1 feature extractor": Exercise(
        checks.check_feature_extractor,
        lambda: dict(backbone=backbone()),
        [
            lambda g: keras.Sequential([g["backbone"], layers.GlobalAveragePooling2D()]),
            lambda g: pooled(g["backbone"]),
            lambda g: keras.Model(g["backbone"].input, keras.ops.mean(g["backbone"].output, axis=(1, 2))),
        ],
        [
            (lambda g: g["backbone"], "still returns maps"),
            (lambda g: chain(g["backbone"], layers.Flatten()), "each channel at each place"),
            (lambda g: chain(g["backbone"], layers.GlobalMaxPooling2D()), "largest values"),
            (
                lambda g: keras.Model(g["backbone"].input, keras.ops.mean(g["backbone"].output, axis=-1)),
                "taken over the channels",
            ),
            (lambda g: classifier(g["backbone"], dense(10)), "is a head still on top"),
            (lambda g: pooled(backbone(seed=1)), "another network's"),
            (lambda g: chain(layers.Rescaling(1 / 255), pooled(g["backbone"])), "divided by 255 first"),
            (lambda g: keras.Sequential([keras.Input((5,)), dense()]), "does not take pixels of \\(8, 8, 3\\)"),
            (lambda g: np.zeros((4, 6)), "ndarray: a keras.Model is asked for"),
        ],
    ),
    "01-2 frozen classifier": Exercise(
        checks.check_frozen_classifier,
        lambda: dict(backbone=backbone(), n_classes=CLASSES),
        [
            lambda g: classifier(frozen(g["backbone"]), dense()),
            lambda g: classifier(frozen_one_by_one(g["backbone"]), dense(activation=None), layers.Softmax()),
            lambda g: keras.Model(g["backbone"].input, dense()(pooled(frozen(g["backbone"])).output)),
        ],
        [
            (lambda g: classifier(g["backbone"], dense()), "would change .* weights of the backbone"),
            (lambda g: classifier(half_frozen(frozen(g["backbone"])), dense()), "not frozen as a whole"),
            (lambda g: all_frozen(classifier(g["backbone"], dense())), "Nothing would be trained"),
            (
                lambda g: classifier(frozen(g["backbone"]), dense(1, "sigmoid")),
                "has the size 1, but there are 3 classes",
            ),
            (lambda g: classifier(frozen(g["backbone"]), dense(activation=None)), "outputs are logits"),
            (lambda g: classifier(frozen(g["backbone"]), dense(activation="sigmoid")), "outputs are sigmoids"),
            (lambda g: chain(frozen(g["backbone"]), dense()), "head stands on maps"),
            (lambda g: classifier(frozen(backbone(1)), dense()), "not all in this model"),
            (lambda g: classifier(frozen(g["backbone"])), "no new layer"),
            (lambda g: classifier(frozen(g["backbone"]), dense(4), dense()), "43 weights are trained, .*: 6 × 3 \\+ 3"),
            (lambda g: chain(frozen(g["backbone"]), layers.Flatten(), dense()), "291 weights are trained, but only"),
        ],
    ),
    "01-3 paired counts": Exercise(
        checks.check_paired,
        lambda: dict(labels=KNOWN, first=FIRST, second=SECOND),
        [
            lambda g: (np.sum(RIGHT_FIRST & ~RIGHT_SECOND), np.sum(RIGHT_SECOND & ~RIGHT_FIRST)),
            lambda g: (
                evaluation.paired_difference(KNOWN, FIRST, SECOND).only_first,
                sum(int(b and not a) for a, b in zip(RIGHT_FIRST, RIGHT_SECOND, strict=True)),
            ),
        ],
        [
            (lambda g: (np.sum(RIGHT_SECOND & ~RIGHT_FIRST), np.sum(RIGHT_FIRST & ~RIGHT_SECOND)), "exchanged"),
            (lambda g: (np.sum(RIGHT_FIRST), np.sum(RIGHT_SECOND)), "all that each model gets right"),
            (lambda g: (np.sum(~RIGHT_FIRST), np.sum(~RIGHT_SECOND)), "each model's mistakes"),
            (lambda g: (np.mean(RIGHT_FIRST & ~RIGHT_SECOND), np.mean(RIGHT_SECOND & ~RIGHT_FIRST)), "shares"),
            (lambda g: (np.sum(FIRST.argmax(1) != SECOND.argmax(1)),) * 2, "where the two answers differ"),
            (lambda g: (RIGHT_FIRST & ~RIGHT_SECOND, RIGHT_SECOND & ~RIGHT_FIRST), "have to be counted"),
            (lambda g: (np.sum(RIGHT_FIRST & RIGHT_SECOND), 0), "Not these numbers"),
        ],
    ),
    "01-4 another data set": Exercise(
        checks.check_experiment,
        lambda: dict(labels=KNOWN, fewest=3, needed=("pretrained", "random weights", "raw pixels")),
        [
            lambda g: ({"pretrained": GOOD, "random weights": POOR, "raw pixels": FAIR}, "pretrained"),
            lambda g: ({"raw pixels": FAIR, "pretrained": GOOD, "random weights": POOR, "more": FIRST}, "raw pixels"),
        ],
        [
            (lambda g: ({"pretrained": GOOD, "random weights": POOR}, "pretrained"), "'raw pixels' is missing"),
            (lambda g: (dict.fromkeys(g["needed"], GOOD), "pretrained"), "the very same probabilities"),
            (lambda g: ({"pretrained": 0.9, "random weights": 0.4, "raw pixels": 0.5}, "pretrained"), "is one number"),
            (
                lambda g: ({"pretrained": GOOD, "random weights": POOR, "raw pixels": FAIR}, "random weights"),
                "better than 'random weights' .* by more than chance",
            ),
            (
                lambda g: ({"pretrained": GOOD[:60], "random weights": POOR, "raw pixels": FAIR}, "pretrained"),
                "answers for 60 photographs, but 90",
            ),
            (
                lambda g: ({"pretrained": 9 * GOOD, "random weights": POOR, "raw pixels": FAIR}, "pretrained"),
                "each row must sum to 1",
            ),
            (
                lambda g: ({"pretrained": GOOD.argmax(1), "random weights": POOR, "raw pixels": FAIR}, "pretrained"),
                "one number per photograph",
            ),
            (lambda g: ([GOOD, POOR, FAIR], "pretrained"), "a dictionary is asked for"),
            (lambda g: ({"pretrained": GOOD, "random weights": POOR, "raw pixels": FAIR}, "best"), "none of the ways"),
        ],
    ),
    "02-1 scaled once": Exercise(
        checks.check_scaled_once,
        lambda: dict(layer=layers.GlobalAveragePooling2D(name=HUB), low=0.0, high=1.0),
        [
            lambda g: chain(layers.Rescaling(1 / 255), g["layer"]),
            lambda g: chain(keras.Sequential([layers.Rescaling(1 / 255)]), g["layer"], dense()),
            lambda g: keras.Model(image := keras.Input((SIZE, SIZE, 3)), g["layer"](layers.Rescaling(1 / 255)(image))),
            lambda g: keras.Model(image := keras.Input((SIZE, SIZE, 3)), g["layer"](image / 255)),
        ],
        [
            (lambda g: chain(g["layer"], dense()), "reach the network as they are"),
            (lambda g: keras.Model(image := keras.Input((SIZE, SIZE, 3)), g["layer"](image / 127.5)), "white as 2; it"),
            (lambda g: chain(layers.Rescaling(1 / 255), layers.Rescaling(1 / 255), g["layer"]), "by 255 twice"),
            (lambda g: chain(layers.Rescaling(1 / 127.5, offset=-1), g["layer"]), "from -1 to 1"),
            (lambda g: chain(g["layer"], layers.Rescaling(1 / 255)), "comes after the network"),
            (lambda g: chain(layers.Rescaling(1 / 127.5), g["layer"]), "white as 2; it expects 0 and 1"),
            (lambda g: chain(layers.Rescaling(1 / 255), layers.GlobalAveragePooling2D()), "not in this model"),
            (lambda g: chain(layers.LayerNormalization(axis=(1, 2, 3)), g["layer"]), "white as 0; it expects"),
            (lambda g: g["layer"], "a keras.Model is asked for"),
        ],
    ),
    "02-2 head and loss": Exercise(
        checks.check_head,
        lambda: dict(n_classes=CLASSES),
        [
            lambda g: compiled(dense(), "sparse_categorical_crossentropy"),
            lambda g: compiled(dense(activation=None), sparse(from_logits=True)),
            lambda g: compiled([dense(activation=None), layers.Activation("softmax")], sparse()),
            lambda g: compiled(dense(), keras.losses.sparse_categorical_crossentropy, metrics=["accuracy"]),
        ],
        [
            (lambda g: compiled(dense(), sparse(from_logits=True)), "softmax twice"),
            (lambda g: compiled(dense(activation=None), "sparse_categorical_crossentropy"), "loss expects probabilit"),
            (lambda g: compiled(dense(activation="sigmoid"), sparse()), "outputs are sigmoids"),
            (lambda g: compiled(dense(activation="relu"), sparse()), "positive numbers without a limit"),
            (lambda g: compiled(dense(), "categorical_crossentropy"), "expects one-hot rows"),
            (lambda g: compiled(dense(), "binary_crossentropy"), "binary_crossentropy does not fit 3 outputs"),
            (lambda g: compiled(dense(), "mse"), "does not fit 3 outputs"),
            (lambda g: compiled(dense(1, "sigmoid"), "binary_crossentropy"), "has the size 1, but there are 3"),
            (lambda g: keras.Sequential([keras.Input((5,)), dense()]), "not compiled"),
            (lambda g: keras.Sequential([dense()]), "let it begin with keras.Input"),
        ],
    ),
    "02-3 split": Exercise(
        checks.check_split,
        lambda: dict(labels=LABELS, fraction=0.2),
        [
            lambda g: stratified(),
            lambda g: tuple(rows.tolist() for rows in stratified(seed=1)),
        ],
        [
            (lambda g: as_masks(*stratified()), "True and False: positions are asked for"),
            (lambda g: in_order(1), "takes the first photographs of each class"),
            (lambda g: in_order(-1), "takes the last photographs of each class"),
            (lambda g: tuple(rows % 15 for rows in stratified()), "count from 0 in each class"),
            (lambda g: (np.arange(48), np.arange(48, 60)), "Class 0 has no photograph in the validation"),
            (lambda g: unbalanced(), "draw class by class"),
            (lambda g: stratified()[::-1], "80%.* not 20%.* swapped"),
            (lambda g: (np.arange(60), stratified()[1]), "12 photographs are in both"),
            (lambda g: (stratified()[0][:-5], stratified()[1]), "5 photographs are in neither"),
            (lambda g: stratified(fraction=0.4), "40% .* not 20%"),
            (lambda g: (stratified()[0], np.repeat(stratified()[1][:6], 2)), "holds a photograph twice"),
            (lambda g: (stratified()[0] + 1, stratified()[1]), "position 60, but the last one is 59"),
            (lambda g: (LABELS[stratified()[0]] / 2, stratified()[1]), "no list of positions"),
        ],
    ),
    "02-4 best weights": Exercise(
        checks.check_best_weights,
        lambda: dict(features=None, labels=None, most_epochs=20),
        [
            lambda g: (Fitted(0.5), history(*STOPPED)),
            lambda g: (Fitted(0.4), history(*LATE)),  # a patience that outlasts the epochs
            lambda g: (Fitted(0.50001), dict(history(0.9, 0.5, 0.7, 0.6, 0.8, 0.9), extra=[1])),
        ],
        [
            (lambda g: (Fitted(0.6), history(*STOPPED)), "those of the last epoch"),
            (lambda g: (Fitted(0.55), history(*STOPPED)), "does the callback watch val_loss"),
            (lambda g: (Fitted(0.3), history(*STOPPED)), "did fit get the validation features"),
            (lambda g: (Fitted(0.5), history(*np.linspace(1, 0.5, 20))), "ran all 20 epochs.* patience short"),
            (lambda g: (Fitted(0.9), history(*LATE)), "Is the callback handed to fit"),
            (lambda g: (Fitted(0.5), history(1.0, 0.7, 0.5)), "at its lowest"),
            (lambda g: (Fitted(0.5), history(1.0, 0.5, 0.6)), "after one epoch without improvement"),
            (lambda g: (Fitted(0.5), {"loss": [0.1, 0.1]}), "no val_loss"),
            (lambda g: (Fitted(0.5), history(1.0, np.nan, np.nan, np.nan)), "diverged"),
        ],
    ),
    "02-5 interval": Exercise(
        checks.check_interval,
        dict,
        [
            lambda g: wilson,
            lambda g: lambda k, n: evaluation.Proportion(k, n).interval,
            lambda g: lambda k, n: np.array(wilson(k, n, z=1.95996)),
        ],
        [
            (lambda g: normal, "simpler normal interval"),
            (lambda g: lambda k, n: wilson(k, n, z=1.645), "90 % interval"),
            (lambda g: lambda k, n: wilson(k, n, z=2.576), "99 % interval"),
            (lambda g: lambda k, n: wilson(k, n)[::-1], "ends are exchanged"),
            (lambda g: lambda k, n: 100 * np.array(wilson(k, n)), "per cent"),
            (lambda g: lambda k, n: wilson(k, n, divided=False), "divided by 1"),
            (lambda g: lambda k, n: (wilson(k, n)[1] - wilson(k, n)[0]) / 2, "return both ends"),
            (lambda g: lambda k, n: (0.0, 1.0), "compare with the formula"),
            (lambda g: lambda k: k, "This stopped with TypeError"),
            (lambda g: lambda k, n: wilson(k, n) if k else 1 / k, "This stopped with ZeroDivisionError: "),
            (lambda g: list(wilson(45, 50)), "a function of correct and total"),
        ],
    ),
    "02-6 several extractors": Exercise(
        checks.check_experiment,
        lambda: dict(labels=KNOWN, fewest=3),
        [
            lambda g: ({"early": POOR, "middle": FAIR, "late": GOOD}, "late"),
            lambda g: ({"early": POOR, "middle": FAIR, "late": GOOD}, "middle"),  # cheaper, and not told apart
        ],
        [
            (lambda g: ({"late": GOOD, "early": POOR}, "late"), "2 ways are no comparison yet: try 3"),
            (lambda g: ({"late": GOOD}, "late"), "1 way is no comparison"),
            (lambda g: ({"early": POOR, "middle": FAIR, "late": GOOD}, "early"), "by more than chance"),
            (lambda g: ({"early": POOR, "middle": FAIR, "late": np.log(GOOD)}, "late"), "must sum to 1"),
            (lambda g: ({"early": POOR, "middle": FAIR, "late": GOOD[:, :2]}, "late"), "2 columns for 3 classes"),
            (lambda g: ({"early": POOR, "middle": FAIR, "late": GOOD * np.nan}, "late"), "diverged"),
            (
                lambda g: ({"early": GOOD[::-1], "middle": FAIR[:, [1, 2, 0]], "late": POOR[:, [2, 0, 1]]}, "late"),
                "No way is better than guessing|by more than chance",
            ),
            (lambda g: ({"early": "ab", "middle": FAIR, "late": GOOD}, "late"), "is one number"),
        ],
    ),
    "03-1 augmentation": Exercise(
        checks.check_augmentation,
        lambda: dict(photographs=np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)),
        [
            lambda g: keras.Sequential(
                [
                    layers.RandomFlip("horizontal", seed=1),
                    layers.RandomRotation(0.05, seed=2),
                    layers.RandomBrightness(0.15, value_range=(0, 255), seed=3),
                ]
            ),
            lambda g: layers.RandomFlip("horizontal", seed=1),
            lambda g: keras.Sequential([layers.RandomZoom(0.3, seed=1), layers.RandomContrast(0.3, seed=2)]),
            lambda g: keras.Sequential([layers.RandomTranslation(0.1, 0.1, seed=1), layers.RandomZoom(0.1, seed=2)]),
        ],
        [
            (lambda g: layers.RandomFlip("vertical", seed=1), "stand on their head"),
            (lambda g: layers.RandomRotation(0.5, seed=1), "stand on their head"),
            (lambda g: layers.RandomInvert(0.5, seed=1), "Some copies are negatives"),
            (lambda g: layers.RandomZoom(0.9, seed=1), "Zoom in less"),
            (lambda g: layers.RandomRotation(0.25, seed=1), "more than 45 degrees"),
            (lambda g: layers.RandomBrightness(0.2, value_range=(0, 1), seed=1), "Mind value_range"),
            (lambda g: layers.RandomBrightness(1.0, value_range=(0, 255), seed=1), "nearly black or nearly white"),
            (lambda g: layers.Rescaling(0.9), "outside of training too"),
            (lambda g: layers.Rescaling(1.0), "nothing is changed in training"),
            (lambda g: Mirrored(), "nothing is drawn at random"),
            (lambda g: layers.RandomBrightness(0.2, value_range=(0, 500), seed=1), "leave the range 0 to 255"),
            (lambda g: layers.RandomCrop(8, 8, seed=1), "needs the old shape"),
            (lambda g: "horizontal", "an augmentation is a layer"),
        ],
    ),
    "03-2 unfreeze": Exercise(
        checks.check_unfrozen,
        lambda: dict(last_frozen=CUT),
        [
            lambda g: set_trainable(backbone(), lambda i, layer: above(i) and not normalises(layer)),
            lambda g: unfrozen_by_helper(),
            lambda g: set_trainable(backbone(), lambda i, layer: layer.name in ("block2_conv", "block3_conv")),
        ],
        [
            (lambda g: set_trainable(backbone(), lambda i, layer: True), "up to block1_bn would be trained too"),
            (lambda g: set_trainable(backbone(), lambda i, layer: above(i)), "2 BatchNormalization layers"),
            (lambda g: frozen(backbone()), "No layer is trainable"),
            (lambda g: loop_alone(frozen(backbone())), "The network itself is still frozen"),
            (lambda g: set_trainable(backbone(), lambda i, layer: not above(i)), "The wrong way round"),
            (lambda g: set_trainable(backbone(), lambda i, layer: above(i) and normalises(layer)), "and nothing else"),
            (lambda g: set_trainable(backbone(), lambda i, layer: layer.name == "block3_conv"), "block2_conv .* still"),
            (
                lambda g: set_trainable(backbone(), lambda i, layer: not normalises(layer)),
                "Layers up to block1_bn would be trained too, such as block1_conv",
            ),
            (lambda g: [layer.name for layer in backbone().layers], "a list: a keras.Model"),
            (lambda g: models.small_cnn(48, 2), "has no layer block1_bn"),
        ],
    ),
    "03-3 ready to fine-tune": Exercise(
        checks.check_ready_to_fine_tune,
        lambda: dict(backbone=backbone(), head=dense(1), cut=CUT, head_rate=3e-3, n_classes=2),
        [
            lambda g: phase_2(g),
            lambda g: phase_2(g, rate=keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(3e-4, 10))),
            lambda g: phase_2(g, output=None, loss=keras.losses.BinaryCrossentropy(from_logits=True)),
        ],
        [
            (lambda g: phase_2(g, compile_it=False), "compiled before the backbone was unfrozen"),
            (lambda g: phase_2(g, unfreeze=None), "still frozen"),
            (lambda g: phase_2(g, unfreeze=lambda i: i > 4), "Trained from block3_conv on, but `cut` is block1_bn"),
            (lambda g: phase_2(g, unfreeze=lambda i: i > 0), "Trained from block1_conv on"),
            (lambda g: phase_2(dict(g, head=dense(1))), "The head is a new one: phase 1 is lost"),
            (lambda g: phase_2(g, rate=3e-3), "about the head's"),
            (lambda g: phase_2(g, rate=0.1), "larger than the head's"),
            (lambda g: phase_2(g, rate=1e-8), "hardly move"),
            (lambda g: phase_2(g, loss="sparse_categorical_crossentropy"), "does not fit one output"),
            (lambda g: phase_2(g, held=False), "BatchNormalization layers are trainable"),
            (lambda g: phase_2(g, output=None), "loss expects probabilities"),
            (lambda g: phase_2(g, output="softmax"), "softmax of a single number"),
            (lambda g: phase_2(dict(g, backbone=backbone(1))), "not all in this model"),
            (lambda g: classifier(g["backbone"], dense(1, "sigmoid")), "not compiled"),
        ],
    ),
    "03-4 best epoch": Exercise(
        checks.check_best_epoch,
        lambda: dict(history=CURVES),
        [lambda g: 3, lambda g: 1 + np.argmin(CURVES["val_loss"])],
        [
            (lambda g: np.argmin(CURVES["val_loss"]), "Python counts from 0"),
            (lambda g: 6, "the last epoch"),
            (lambda g: 1 + np.argmax(CURVES["val_accuracy"]), "highest validation accuracy"),
            (lambda g: 1 + np.argmax(CURVES["val_loss"]), "highest validation loss"),
            (lambda g: 0.5, "counted from 1"),
            (lambda g: CURVES["val_loss"], "One number is asked for"),
            (lambda g: 5, "lowest point of the validation loss"),
        ],
    ),
    "03-5 threshold": Exercise(
        checks.check_threshold,
        lambda: dict(labels=np.repeat([1, 0], 10), chances=np.concatenate([DOGS, CATS]), least_found=0.9),
        [lambda g: np.sort(DOGS)[1] - 1e-6, lambda g: 0.39, lambda g: np.float32(0.385)],
        [
            (lambda g: 0.5, "finds 70% of the dogs, fewer than 90%"),
            (lambda g: 0.9, "0.9 is the share of dogs to find, not the threshold"),
            (lambda g: 0.0, "every photograph is called a dog"),
            (lambda g: 39, "no probability"),
            (lambda g: 0.34, "calls 3 cats dogs; 2 are enough"),
            (lambda g: np.sort(CATS)[-1], "too high. Cats are judged by it"),
            (lambda g: g["chances"] > 0.39, "One number between 0 and 1"),
            (lambda g: 1 - 0.39, "the threshold is too high"),
        ],
    ),
    "03-6 experiment with seeds": Exercise(
        checks.check_experiment,
        lambda: dict(labels=KNOWN, fewest=3, seeds=2),
        [
            lambda g: ({"0": [GOOD, FAIR], "5": [FIRST, FAIR], "15": [POOR, SECOND]}, "0"),
            lambda g: ({"0": np.stack([GOOD, FAIR]), "5": [FIRST, FAIR], "15": [POOR, SECOND]}, "0"),
        ],
        [
            (lambda g: ({"0": GOOD, "5": FIRST, "15": POOR}, "0"), "train 2 times, each with a seed"),
            (lambda g: ({"0": [GOOD, FAIR], "5": [FIRST, FAIR]}, "0"), "no comparison yet"),
            (lambda g: ({"0": [GOOD, FAIR], "5": [GOOD, FAIR], "15": [POOR, SECOND]}, "0"), "did not reach the model"),
            (lambda g: ({"0": [GOOD, FAIR], "5": [FIRST, FAIR], "15": [POOR, POOR]}, "15"), "by more than chance"),
            (lambda g: ({"0": [GOOD, FAIR], "5": [FIRST, FAIR], "15": [0.7, 0.8]}, "0"), "one number per photograph"),
            (lambda g: ({"0": [GOOD, FAIR], "5": [FIRST, FAIR], "15": [POOR, SECOND]}, 15), "none of the ways"),
        ],
    ),
    "03-6 note": Exercise(
        checks.check_note,
        lambda: dict(difference=OPEN, photographs=90),
        [lambda g: NOTE, lambda g: dict(NOTE, result=f"no better: {ROUNDED}", seeds=2)],
        [
            (lambda g: dict(NOTE, changed=""), "'changed' is still empty"),
            (lambda g: {k: v for k, v in NOTE.items() if k != "kept the same"}, "'kept the same' is still empty"),
            (lambda g: dict(NOTE, resolved=True), "whether its interval holds zero"),
            (lambda g: dict(NOTE, result="augmentation helps by 2 points"), "'helps', but .* not resolved"),
            (lambda g: dict(NOTE, **{"measured on": "test"}), "Test photographs come once"),
            (lambda g: dict(NOTE, photographs=96), "number of photographs is not 96"),
            (lambda g: dict(NOTE, result="not resolved"), "holds no number"),
            (lambda g: dict(NOTE, result="77 points, not resolved"), "the largest of the differences"),
            (lambda g: dict(NOTE, result=ROUNDED.partition(" to")[0]), "both ends of the interval"),
            (
                lambda g: {k.replace(" ", "_"): v for k, v in NOTE.items()},
                "'kept the same' is missing, and 'kept_the_same' is none of those",
            ),
            (lambda g: "it works", "fill in the dictionary"),
        ],
    ),
    "04-1 freeze point": Exercise(
        checks.check_freeze_point,
        lambda: dict(network=residual(), most_weights=400),
        [lambda g: "block2_add", lambda g: "block2_relu"],
        [
            (lambda g: "block3_add", "room for another block"),
            (lambda g: "block1_bn", "518 weights .* more than 400"),
            (lambda g: "block2_bn", "inside a block"),
            (lambda g: "block3_conv", "inside a block"),
            (lambda g: "block2", "Which of the block's layers is its last"),
            (lambda g: "block_15_add", "no layer 'block_15_add'. See its list"),
            (lambda g: -20, "an int: the name of a layer"),
            (lambda g: "block4_conv", "nothing to train"),
            (lambda g: g["network"].get_layer("block2_add"), "an Add: the name of a layer"),
        ],
    ),
    "04-2 moving statistics": Exercise(
        checks.check_moving,
        lambda: dict(network=partly_still()),
        [lambda g: measured_moves(g["network"]), lambda g: {"plain", "told"}],
        [
            (lambda g: ["plain"], "More of them move"),
            (lambda g: "plain", "More of them move"),
            (lambda g: ["told", "plain", "frozen"], "Not all of them"),
            (lambda g: ["frozen"], "The wrong way round"),
            (lambda g: ["plain", "frozen"], "frozen stays as it is"),
            (lambda g: [layer.name for layer in g["network"].layers if layer.trainable_weights], "gradients alone"),
            (lambda g: [], "Some do move"),
            (lambda g: [layer for layer in g["network"].layers if normalises(layer)], "Names are asked for"),
            (lambda g: ["batch_normalization"], "no layer 'batch_normalization'"),
        ],
    ),
    "04-3 schedule": Exercise(
        checks.check_schedule,
        dict,
        [
            lambda g: cosine,
            lambda g: lambda step, steps, highest: keras.optimizers.schedules.CosineDecay(highest, steps)(step),
            lambda g: lambda step, steps, highest: highest * np.cos(np.pi * step / steps / 2) ** 2,
        ],
        [
            (lambda g: lambda step, steps, highest: highest * (1 - step / steps), "straight line"),
            (lambda g: lambda step, steps, highest: highest * np.cos(np.pi * step / steps), "negative in the second"),
            (lambda g: lambda step, steps, highest: highest - cosine(step, steps, highest), "The rate rises"),
            (lambda g: lambda step, steps, highest: 2 * cosine(step, steps, highest), "twice the highest rate"),
            (lambda g: lambda step, steps, highest: cosine(2 * step, steps, highest), "half a period is enough"),
            (lambda g: lambda step, steps, highest: highest * np.cos(np.pi * step / steps / 2), "quarter of the"),
            (lambda g: lambda step, steps, highest: highest * (1 + np.cos(180 * step / steps)) / 2, "takes radians"),
            (lambda g: lambda step, steps, highest: cosine(step, steps, 1), "where is the highest rate"),
            (lambda g: lambda step, steps, highest: highest, "hardly changes"),
            (lambda g: lambda step, steps, highest: cosine(step, steps + 1, highest), "it is to end at 0"),
            (lambda g: lambda step, steps, highest: cosine(np.arange(steps), steps, highest), "returns an array"),
            (lambda g: cosine(0, 10, 1e-3), "a function of step, steps and highest"),
        ],
    ),
    "04-4 rate of a sweep": Exercise(
        checks.check_chosen_rate,
        lambda: dict(sweep=SWEEP, images=500),
        [lambda g: 3e-4, lambda g: 1e-3, lambda g: SWEEP["rate"][SWEEP["validation"].idxmax()]],
        [
            (lambda g: 1e-2, "best one on the training images"),
            (lambda g: 3e-3, "best one on the test images"),
            (lambda g: 1e-1, "It is too large"),
            (lambda g: 1e-5, "It is too small"),
            (lambda g: 5e-4, "was not tried"),
            (lambda g: 0.78, "That is an accuracy"),
            (lambda g: SWEEP["validation"].argmax(), "number of a row"),
            (lambda g: [3e-4, 1e-3], "One number is asked for"),
        ],
    ),
    "04-4 rate, larger than needed": Exercise(
        checks.check_chosen_rate,
        lambda: dict(sweep=SWEEP.assign(test=0.5), images=500),
        [lambda g: 1e-3, lambda g: np.float32(3e-4)],
        [
            (lambda g: 3e-3, "larger, and that is the dangerous side"),
            (lambda g: 1e-2, "best one on the training images"),
            (lambda g: 1e-1, "It is too large"),
            (lambda g: 1e-4, "It is too small"),
            (lambda g: "1e-3", "One number is asked for"),
        ],
    ),
    "04-5 joined": Exercise(
        checks.check_joined,
        parts,
        [
            lambda g: (joined(g), 1e-7),
            lambda g: (keras.Model(g["lower"].input, g["above"](g["lower"].output)), np.float32(0)),
            lambda g: (keras.Sequential([g["lower"], g["above"]]), 3e-6),
        ],
        [
            (lambda g: (g["above"], 0.0), "does not take pixels"),
            (lambda g: (g["lower"], 0.0), "still returns maps"),
            (lambda g: (keras.Sequential([g["lower"], *g["above"].layers[:2]]), 0.0), "is the head on top"),
            (lambda g: (joined(dict(g, lower=parts(1)["lower"])), 0.0), "are they the trained ones"),
            (lambda g: (chain(layers.Rescaling(1 / 255), joined(g)), 0.0), "divided by 255 first"),
            (lambda g: (joined(g), True), "True or False"),
            (lambda g: (joined(g), np.zeros((5, 3))), "the largest of all differences"),
            (lambda g: (joined(g), -1e-7), "The gap is negative"),
            (lambda g: (joined(g), 0.4), "the same photographs, in the same order"),
        ],
    ),
    "04-6 depth against seconds": Exercise(
        checks.check_cost,
        lambda: dict(labels=KNOWN),
        [
            lambda g: (TRIED, SECONDS, "few"),
            lambda g: (EQUAL, SECONDS, "frozen"),
            lambda g: (TRIED, dict(SECONDS, some=np.float32(3.0)), "some"),
        ],
        [
            (lambda g: (TRIED, SECONDS, "some"), "'few' takes fewer seconds than 'some'"),
            (lambda g: (TRIED, SECONDS, "frozen"), "is better than 'frozen'"),
            (lambda g: (TRIED, {"frozen": 2.5, "few": 9.0}, "few"), "no number of seconds for 'some'"),
            (lambda g: (TRIED, dict(SECONDS, few=-9.0), "few"), "time before and after"),
            (lambda g: (TRIED, dict.fromkeys(TRIED, 9.0), "few"), "the very same time"),
            (lambda g: (TRIED, [2.5, 9.0, 14.5], "few"), "The seconds are a list"),
            (lambda g: ({"frozen": POOR, "few": FAIR}, SECONDS, "few"), "no comparison yet"),
            (lambda g: (TRIED, SECONDS, "deep"), "none of the ways"),
        ],
    ),
    "05-1 preprocessing": Exercise(
        checks.check_preprocessing,
        lambda: dict(network=backbone()),
        [
            lambda g: caffe(g),
            lambda g: keras.Model(
                image := keras.Input((SIZE, SIZE, 3)),
                g["network"](keras.applications.resnet50.preprocess_input(image)),
            ),
            lambda g: chain(layers.Lambda(lambda x: x[..., ::-1] - MEAN.astype("float32")), g["network"]),
        ],
        [
            (lambda g: g["network"], "its preprocessing is missing"),
            (lambda g: chain(layers.Rescaling(1 / 255), g["network"]), "divided by 255"),
            (lambda g: chain(layers.Rescaling(1 / 127.5, offset=-1), g["network"]), "scaled to -1 to 1"),
            (lambda g: caffe(dict(network=caffe(g))), "done twice"),
            (lambda g: caffe(g, mean=None), "the mean colour is not subtracted"),
            (lambda g: caffe(g, order=1, mean=MEAN[::-1]), "red and blue are not exchanged"),
            (lambda g: caffe(g, order=1), "mean of blue is subtracted from red"),
            (lambda g: caffe(g, mean=MEAN[::-1]), "the mean colour as well"),
            (lambda g: caffe(g, scale=2.0), "other numbers than it was trained on"),
            (lambda g: pooled(g["network"]), "return the network's maps"),
            (lambda g: keras.applications.resnet50.preprocess_input, "a function: a keras.Model"),
        ],
    ),
    "05-2 cross-entropy": Exercise(
        checks.check_cross_entropy,
        dict,
        [
            lambda g: exact_loss,
            lambda g: lambda z, label: np.logaddexp.reduce(z) - z[label],
            lambda g: (
                lambda z, label: keras.losses.sparse_categorical_crossentropy(np.array([label]), z[np.newaxis], True)[0]
            ),
        ],
        [
            (lambda g: lambda z, label: -np.log(softmax(z)[label]), "np.exp of a large number"),
            (lambda g: lambda z, label: -np.log(softmax(z - z.max())[label]), "or the logarithm of 0"),
            (lambda g: clipped_loss, "is cut off before the logarithm"),
            (lambda g: lambda z, label: -exact_loss(z, label), "The sign is wrong"),
            (lambda g: lambda z, label: softmax(z)[label], "That is the probability"),
            (lambda g: lambda z, label: -np.log10(softmax(z)[label]), "base 10"),
            (lambda g: lambda z, label: -np.log2(softmax(z)[label]), "base 2"),
            (lambda g: lambda z, label: exact_loss(z, z.argmax()), "likeliest class, whichever is right"),
            (lambda g: lambda z, label: sum(exact_loss(z, c) for c in range(len(z))), "losses of all classes"),
            (lambda g: lambda z, label: -z[label], "the softmax is missing"),
            (lambda g: lambda z, label: exact_loss(softmax(z), label), "softmax is applied twice"),
            (lambda g: lambda z, label: -np.log(softmax(z)), "one number"),
            (lambda g: exact_loss(np.array([1.0, 2.0]), 0), "a function of logits and label"),
        ],
    ),
    "05-3 near-copies": Exercise(
        checks.check_near_copies,
        lambda: dict(hashes=TEST, others=TRAINING, limit=30),
        [lambda g: NEAR, lambda g: np.isin(np.arange(len(TEST)), NEAR), lambda g: NEAR[::-1].tolist()],
        [
            (lambda g: len(NEAR), "One number is not enough"),
            (lambda g: [*NEAR, 5], "differ in 30 bits are counted too"),
            (lambda g: np.setdiff1d(np.arange(len(TEST)), NEAR), "that have no near-copy"),
            (lambda g: [0], "at the same place in the list"),
            (lambda g: np.arange(len(TEST)), "compared with itself"),
            (lambda g: [], "None at all"),
            (lambda g: [1, 1, 4], "holds a photograph twice"),
            (lambda g: [0, 1], "Near-copies that are missing: 1"),
            (lambda g: [*NEAR, 3], "position 3 has no near-copy"),
            (lambda g: [0, 2, 7], "has the position 7, but the last one is 5"),
        ],
    ),
    "05-3 near-copies, the other set": Exercise(
        checks.check_near_copies,
        lambda: dict(hashes=TRAINING, others=TEST, limit=30),
        [lambda g: [0, 2, 7], lambda g: np.array([7, 2, 0])],
        [
            (lambda g: NEAR, "positions of the other pictures"),
            (lambda g: [0, 2, 7, 9], "differ in 30 bits are counted too"),
            (lambda g: [0.0, 2.0, 7.0], "no list of positions"),
            (lambda g: [0], "at the same place in the list"),
            (lambda g: [2, 7], "Near-copies that are missing: 1"),
        ],
    ),
    "05-4 split by film": Exercise(
        checks.check_grouped_split,
        lambda: dict(groups=FILM, labels=KIND, least=0.2, most=0.5),
        [
            lambda g: by_film([1, 3, 5, 7]),
            lambda g: tuple(rows.tolist() for rows in by_film([1, 2, 5, 7])),
            lambda g: tuple(np.isin(np.arange(len(FILM)), rows) for rows in by_film([1, 3, 5, 7])),
        ],
        [
            (lambda g: (np.arange(23), np.arange(23, 30)), "Class 3 has no photograph in the training part"),
            (lambda g: (np.arange(30)[::2], np.arange(30)[1::2]), "Groups that lie in both parts: 8"),
            (lambda g: by_film([0, 1, 3, 5, 7]), "Class 0 has no photograph in the training part"),
            (lambda g: by_film([0, 2, 4, 6]), "are for validation: 20% to 50%"),
            (lambda g: (np.arange(30), by_film([1, 3, 5, 7])[1]), "are in both parts"),
            (lambda g: by_film([1, 3, 5, 7], 27), "3 photographs are in neither"),
            (lambda g: (by_film([1, 3])[0], by_film([5, 7])[1]), "are in both parts"),
            (lambda g: ([0, 2, 4, 6], [1, 3, 5, 7]), "22 photographs are in neither"),
            (lambda g: (by_film([1, 3, 5, 7])[0], np.repeat(by_film([1])[1], 2)), "holds a photograph twice"),
        ],
    ),
    "05-5 early stopping": Exercise(
        checks.check_early_stopping,
        lambda: dict(losses=STOPS, patience=3),
        [lambda g: (8, 5), lambda g: (np.int64(8), np.argmin(STOPS[:8]) + 1)],
        [
            (lambda g: (5, 8), "The two are exchanged"),
            (lambda g: (7, 4), "Count epochs from 1"),
            (lambda g: (8, 8), "The last epoch is not the best one"),
            (lambda g: (8, 12), "ended before it came"),
            (lambda g: (13, 5), "It does not run to the end"),
            (lambda g: (9, 5), "It does not wait as long"),
            (lambda g: (10, 5), "The loss need not rise each time"),
            (lambda g: (6, 5), "a first rise does not end it"),
            (lambda g: (11, 5), "It ends earlier"),
            (lambda g: (8, 3), "Other weights are kept"),
            (lambda g: (8, 1), "the highest loss"),
            (lambda g: ([8], [5]), "Two numbers are asked for"),
        ],
    ),
    "06-1 files to leave out": Exercise(
        checks.check_left_out,
        lambda: dict(folder=SPOILT),
        [
            lambda g: BAD,
            lambda g: {g["folder"] / name for name in (*without("carrot/again.png"), "carrot/1.png")},
        ],
        [
            (lambda g: without("garlic/note.jpg"), "no photograph is still used"),
            (lambda g: without("carrot/tiny.png"), "a few pixels is still used"),
            (lambda g: without("carrot/again.png"), "there twice in one class"),
            (lambda g: without("carrot/2.png"), "lies in two classes and is still used"),
            (lambda g: [*BAD, "carrot/1.png"], "no copy is left"),
            (lambda g: [*BAD, "garlic/0.png", "garlic/1.png"], "2 good photographs are left out"),
            (lambda g: ["note.jpg"], "no file 'note.jpg': give the class folder"),
            (lambda g: "garlic/note.jpg", "One name is not enough"),
            (lambda g: [], "no photograph is still used"),
        ],
    ),
    "06-2 groups of near-copies": Exercise(
        checks.check_groups,
        lambda: dict(hashes=BURST, limit=30),
        [lambda g: [0, 1, 0, 0, 4, 5, 6], lambda g: np.array([9, 3, 9, 9, 7, 8, 2])],
        [
            (lambda g: [0, 1, 2, 0, 4, 5, 6], "photographs 2 and 3 differ in 20 bits"),
            (lambda g: [0, 1, 2, 3, 4, 5, 6], "Every photograph is alone"),
            (lambda g: [0] * 7, "All share one number"),
            (lambda g: [0, 1, 0, 0, 1, 5, 6], "1 and 4 share a number, but no near-copies lead"),
            (lambda g: [0, 1, 0, 0, 4, 5, 5], "Exactly 30 bits are not fewer than 30"),
            (lambda g: np.eye(7, dtype=bool), "a table of pairs"),
            (lambda g: 3, "One number for each of the 7 photographs"),
            (lambda g: [0, 1, 2, 2, 4, 5, 6], "photographs 0 and 3 differ in 20 bits"),
        ],
    ),
    "06-3 strategy": Exercise(
        checks.check_strategy,
        dict,
        [
            lambda g: table_of_strategies,
            lambda g: (
                lambda n, likeness, classes: table_of_strategies(
                    n, (likeness - 1 / classes) / (1 - 1 / classes), classes, limit=0.5
                )
            ),
        ],
        [
            (lambda g: lambda n, like, c: table_of_strategies(n, like, c, limit=0.5), "Of two classes a guess"),
            (lambda g: lambda n, like, c: table_of_strategies(n, like, c, limit=0.75), "Of twenty classes a guess"),
            (lambda g: lambda n, like, c: table_of_strategies(n, 1 - like, c), "The columns are exchanged"),
            (lambda g: lambda n, like, c: table_of_strategies(n, like, c, much=1000), "not much data yet"),
            (lambda g: lambda n, like, c: table_of_strategies(n, like, c, much=1e9), "whatever the likeness"),
            (lambda g: lambda n, like, c: table_of_strategies(n, like, c, much=20), "whatever it is given"),
            (lambda g: lambda n, like, c: "few" if like > 0.5 else "many", "learn them by heart"),
            (lambda g: lambda n, like, c: 20, "one of 'few', 'some' and 'many'"),
            (lambda g: "few", "a str: a function"),
        ],
    ),
    "06-4 calibration": Exercise(
        checks.check_calibration,
        lambda: dict(labels=KNOWN, probabilities=SURE, bins=5),
        [
            lambda g: (CALIBRATED.error, TOO_SURE),
            lambda g: (np.float32(np.sum(np.abs(GAPS) * CALIBRATED.images) / 90), TOO_SURE.upper()),
        ],
        [
            (lambda g: (np.mean(np.abs(GAPS)), TOO_SURE), "All bins weigh the same"),
            (lambda g: (np.average(GAPS, weights=CALIBRATED.images), TOO_SURE), "cancel each other"),
            (lambda g: (100 * CALIBRATED.error, TOO_SURE), "per cent"),
            (lambda g: (1 - np.mean(SURE.argmax(1) == KNOWN), TOO_SURE), "the share of wrong answers"),
            (lambda g: (SURE.max(axis=1).mean(), TOO_SURE), "the mean confidence"),
            (lambda g: (np.abs(GAPS).max(), TOO_SURE), "the largest gap"),
            (lambda g: (evaluation.calibration(KNOWN, SURE, 15).error, TOO_SURE), "5 equally wide bins"),
            (lambda g: (error_by(SURE[np.arange(90), KNOWN]), TOO_SURE), "the probability of the right class"),
            (lambda g: (CALIBRATED.error, "underconfident"), "the wrong way round"),
            (lambda g: (CALIBRATED.error, "good"), "is no verdict"),
            (lambda g: (GAPS, TOO_SURE), "one number"),
        ],
    ),
    "06-5 agreement of two files": Exercise(
        checks.check_agreement,
        lambda: dict(first=FIRST, second=CHANGED, labels=KNOWN),
        [
            lambda g: (AGREEING, FARTHEST),
            lambda g: (np.sum(FIRST.argmax(1) == CHANGED.argmax(1)), np.max(np.abs(CHANGED - FIRST))),
        ],
        [
            (lambda g: (FARTHEST, AGREEING), "The two are exchanged"),
            (lambda g: (AGREEING / 90, FARTHEST), "That is the share"),
            (lambda g: (90 - AGREEING, FARTHEST), "whose class changes"),
            (lambda g: (np.sum(FIRST.argmax(1) == KNOWN), FARTHEST), "compares with the labels"),
            (lambda g: (np.sum(CHANGED.argmax(1) == KNOWN), FARTHEST), "how often the second file is right"),
            (lambda g: (np.sum(FIRST == CHANGED), FARTHEST), "Probabilities are compared there"),
            (lambda g: (AGREEING, np.abs(FIRST - CHANGED).mean()), "the mean difference"),
            (lambda g: (AGREEING, (FIRST - CHANGED).min()), "Differences have two signs"),
            (lambda g: (AGREEING, np.abs(FIRST.max(1) - CHANGED.max(1)).max()), "Only the likeliest class"),
            (lambda g: (AGREEING, 0.5), "photograph by photograph"),
            (lambda g: (np.isclose(FIRST, CHANGED), FARTHEST), "Two numbers are asked for"),
        ],
    ),
    "06-6 class names": Exercise(
        checks.check_class_names,
        lambda: dict(probabilities=FIRST, folders=FOLDERS),
        [lambda g: NAMES, lambda g: np.unique(g["folders"]), lambda g: np.array(NAMES)],
        [
            (lambda g: sorted(NAMES, key=str.lower), "no notice of capitals"),
            (lambda g: NAMES[::-1], "The order is turned round"),
            (lambda g: [name.lower() for name in NAMES], "mind the capitals"),
            (lambda g: NAMES[:2], "2 names for 3 outputs"),
            (lambda g: ["Cucumber", "carrot", "carrot"], "stands there twice"),
            (lambda g: ["carrot", "onion", "Cucumber"], "get the name of their folder"),
            (lambda g: ["Cucumber", "carrot", "leek"], "no folder 'leek'"),
            (lambda g: "onion", "One name is not enough"),
        ],
    ),
    "06-7 table of results": Exercise(
        checks.check_results_table,
        lambda: dict(answers=TRIED, labels=KNOWN),
        [
            lambda g: results(),
            lambda g: results(kind="probe").iloc[::-1].round(3),
        ],
        [
            (lambda g: results().drop(columns="low"), "column 'low' is missing"),
            (lambda g: results().drop(index="frozen"), "The row 'frozen' is missing"),
            (lambda g: results(photographs=400), "measured on 90 photographs, not on 400"),
            (lambda g: 100 * results().assign(photographs=0.9), "The accuracies are per cent"),
            (lambda g: results().set_axis(["some", "few", "frozen"]), "not that of its answers"),
            (lambda g: results().rename(columns={"low": "high", "high": "low"}), "low comes first"),
            (lambda g: results(low=results()["accuracy"], high=results()["accuracy"]), "has no width"),
            (lambda g: results(low=normal_ends()[0], high=normal_ends()[1]), "simpler normal interval"),
            (lambda g: results(low=0.0, high=1.0), "is not the 95 % interval"),
            (lambda g: results().to_dict(), "a dict: a pandas.DataFrame"),
        ],
    ),
}


def unfrozen_by_helper():
    network = backbone()
    models.unfreeze_above(network, CUT)
    return network


RIGHT = [(name, i) for name, each in EXERCISES.items() for i in range(len(each.right))]
WRONG = [(name, i) for name, each in EXERCISES.items() for i in range(len(each.wrong))]


@pytest.mark.parametrize(("name", "i"), RIGHT)
def test_right_answer_is_accepted_and_told_what_it_shows(name, i):
    verdict = EXERCISES[name].examine(EXERCISES[name].right[i])
    assert verdict.right is True, verdict
    assert len(verdict.message) > 20


@pytest.mark.parametrize(("name", "i"), WRONG)
def test_wrong_answer_is_told_which_mistake_it_makes(name, i):
    answer, mistake = EXERCISES[name].wrong[i]
    verdict = EXERCISES[name].examine(answer)
    assert verdict.right is False, verdict
    assert re.search(mistake, verdict.message), verdict


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("nothing", [None, ...])
def test_nothing_entered_is_said_kindly(name, nothing):
    exercise = EXERCISES[name]
    given = exercise.given()
    answers = exercise.right[0](given)
    n = len(answers) if isinstance(answers, tuple) else 1
    verdict = exercise.check(*[nothing] * n, **given)
    assert verdict.right is None
    assert repr(verdict).startswith("Nothing entered yet. ")


def test_every_exercise_has_another_right_answer_and_five_wrong_ones():
    assert all(len(each.right) >= 2 and len(each.wrong) >= 5 for each in EXERCISES.values())
    messages = {name: [mistake for _, mistake in each.wrong] for name, each in EXERCISES.items()}
    assert all(len(set(each)) >= 5 for each in messages.values())


def test_no_check_lacks_a_table():
    defined = {value for name, value in vars(checks).items() if name.startswith("check_")}
    assert {each.check for each in EXERCISES.values()} == defined


def test_function_that_returns_nothing_and_dictionary_of_nothing_are_not_entered():
    interval = checks.check_interval(lambda correct, total: None)
    assert interval.right is None
    assert "does it end with `return`" in interval.message
    assert checks.check_experiment({"a": None, "b": None}, "a", labels=KNOWN).right is None
    assert checks.check_note(dict.fromkeys(NOTE), difference=OPEN, photographs=90).right is None


def test_what_a_function_returns_is_said_to_be_missing_and_one_of_two_answers_is_named():
    assert "does it end with `return`" in checks.check_unfrozen(None, last_frozen=CUT).message
    assert "does it end with `return`" in checks.check_split(None, None, labels=LABELS, fraction=0.2).message
    verdict = checks.check_best_weights(Fitted(0.5), None, features=None, labels=None, most_epochs=20)
    assert verdict.right is False
    assert "the second is still None" in verdict.message


def test_note_may_claim_what_is_resolved():
    note = dict(NOTE, resolved=True, result=f"pretraining is better: {DIFFERENT}")
    assert checks.check_note(note, difference=DIFFERENT, photographs=90)


def test_verdict_counts_as_true_only_if_right_and_is_wrapped():
    assert checks.Verdict(True, "yes")
    assert not checks.Verdict(False, "no")
    assert not checks.Verdict(None, "nothing")
    assert max(map(len, repr(checks.Verdict(False, "word " * 60)).splitlines())) <= 110


def test_what_a_learners_object_raises_becomes_a_message():
    verdict = checks.check_split(train="a", validation=object())
    assert verdict.right is False
    assert "could not be examined (TypeError" in verdict.message


# Quiz


@pytest.mark.parametrize("question", quiz.ANSWERS)
def test_quiz_accepts_one_letter_and_gives_a_reason_for_each(question):
    right, reasons = quiz.ANSWERS[question]
    verdicts = {letter: quiz.check_quiz(letter, question=question) for letter in reasons}
    assert [letter for letter, verdict in verdicts.items() if verdict] == [right]
    assert len({verdict.message for verdict in verdicts.values()}) == len(reasons) == 4
    assert all(len(verdict.message) > 20 for verdict in verdicts.values())


def test_quiz_reads_letters_as_people_write_them_and_names_the_letters_there_are():
    right, _ = quiz.ANSWERS["01-1"]
    assert quiz.check_quiz(f" {right.upper()}) ", question="01-1")
    assert "a, b, c, d" in quiz.check_quiz("x", question="01-1").message
    assert quiz.check_quiz(None, question="01-1").right is None


def test_right_letters_are_spread():
    letters = [right for right, _ in quiz.ANSWERS.values()]
    assert set(letters) == set("abcd")
