import importlib
import urllib.error

import keras
import numpy as np
import pytest

from helpers import config, efficientnet_lite, models

SIZE = 64
APPLICATIONS = {
    "MobileNetV2": "mobilenet_v2",
    "VGG16": "vgg16",
    "ResNet50": "resnet50",
    "ResNet50V2": "resnet_v2",
    "EfficientNetB0": "efficientnet",
}
WHITE, BLACK, COLOURED = (255, 255, 255), (0, 0, 0), (200, 100, 30)


@pytest.fixture(scope="module")
def backbones() -> dict[str, keras.Model]:
    return {name: models.backbone(name, SIZE, weights=None) for name in config.BACKBONES}


def preprocessed(model: keras.Model, colour: tuple) -> np.ndarray:
    """What the first layer of the network itself is fed for one colour."""
    first = next(
        layer
        for layer in model.layers[1:]
        if layer.name != "preprocessing" and not isinstance(layer, keras.layers.InputLayer)
    )
    pixels = np.broadcast_to(np.array(colour, np.float32), (1, SIZE, SIZE, 3))
    return np.asarray(keras.Model(model.input, first.input)(pixels))[0, 0, 0]


def test_every_backbone_of_the_configuration_can_be_built(backbones):
    assert tuple(backbones) == config.BACKBONES


@pytest.mark.parametrize("name", APPLICATIONS)
@pytest.mark.parametrize("colour", [WHITE, BLACK, COLOURED])
def test_preprocessing_is_that_of_keras_applications(backbones, name, colour):
    module = importlib.import_module(f"keras.applications.{APPLICATIONS[name]}")
    expected = module.preprocess_input(np.array(colour, np.float32).reshape(1, 1, 1, 3))[0, 0, 0]
    # float32: x / 127.5 - 1 and x * (1 / 127.5) - 1 may differ in the last place
    np.testing.assert_allclose(preprocessed(backbones[name], colour), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("VGG16", (151.061, 138.221, 131.32)),  # blue, green, red, less their means
        ("ResNet50", (151.061, 138.221, 131.32)),
        ("MobileNetV2", (1, 1, 1)),
        ("ResNet50V2", (1, 1, 1)),
        ("EfficientNetB0", (255, 255, 255)),  # it rescales inside
        ("efficientnet-lite0", (1, 1, 1)),
    ],
)
def test_white_reaches_the_network_as_it_expects(backbones, name, expected):
    np.testing.assert_allclose(preprocessed(backbones[name], WHITE), expected, atol=1e-4)  # float32 near 150


def test_efficientnet_lite0_is_centred_at_127(backbones):
    expected = (np.array(COLOURED) - 127) / 128
    np.testing.assert_allclose(preprocessed(backbones["efficientnet-lite0"], COLOURED), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "channels"), list(zip(config.BACKBONES, (1280, 1280, 512, 2048, 2048, 1280), strict=True))
)
def test_backbone_goes_from_images_to_feature_maps(backbones, name, channels):
    model = backbones[name]
    assert model.input_shape == (None, SIZE, SIZE, 3)
    assert model.output_shape == (None, 2, 2, channels)  # each halves the image five times
    assert model.name == name


@pytest.mark.parametrize("name", config.BACKBONES)
def test_last_frozen_layer_is_in_the_backbone_with_weights_on_both_sides(backbones, name):
    names = [layer.name for layer in backbones[name].layers]
    position = names.index(models.LAST_FROZEN_LAYER[name])
    before, after = (
        sum(layer.count_params() for layer in part)
        for part in (backbones[name].layers[: position + 1], backbones[name].layers[position + 1 :])
    )
    assert before > 0
    # what is fine-tuned is the top: fewer layers than stay frozen, but weights to tune
    assert 0 < len(names) - position - 1 < position
    assert after > 0.1 * (before + after)


def test_unknown_backbone_lists_the_backbones():
    with pytest.raises(ValueError, match="backbone 'AlexNet'") as error:
        models.backbone("AlexNet", SIZE)
    assert all(name in str(error.value) for name in config.BACKBONES)


@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetB0"])
def test_weights_that_cannot_be_downloaded_give_one_sentence_with_the_way_out(monkeypatch, tmp_path, name):
    file_utils = importlib.import_module("keras.src.utils.file_utils")  # get_file looks both names up there
    asked = []

    def unreachable(url, *_):
        asked.append(url)
        raise urllib.error.URLError("Network is unreachable")

    monkeypatch.setattr(file_utils, "urlretrieve", unreachable)
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path))
    with pytest.raises(ValueError, match=f"ImageNet weights of {name} could not be downloaded") as error:
        models.backbone(name, 96)
    assert len(asked) == 1
    assert "COURSE_BACKBONE=efficientnet-lite0" in str(error.value)
    assert "\n" not in str(error.value)


def test_other_errors_of_keras_pass_unchanged(monkeypatch):
    def too_small(**_):
        raise ValueError("zero or negative dimension")

    monkeypatch.setattr(keras.applications, "VGG16", too_small)
    with pytest.raises(ValueError, match="zero or negative dimension"):
        models.backbone("VGG16", 96)


def test_imagenet_weights_are_the_default(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(efficientnet_lite, "_load_imagenet_weights", asked.append)
    models.backbone("efficientnet-lite0", SIZE)
    assert len(asked) == 1
    models.backbone("efficientnet-lite0", SIZE, weights=None)
    assert len(asked) == 1


def test_parameters_are_counted_as_trainable_and_frozen():
    layers = [keras.Input((3,)), keras.layers.Dense(4, name="hidden"), keras.layers.BatchNormalization(name="norm")]
    model = keras.Sequential(layers)
    # 3 × 4 weights and 4 biases; 4 scales and 4 shifts; 4 means and 4 variances, which training does not fit
    assert models.count_parameters(model) == models.ParameterCount(trainable=24, frozen=8)
    model.get_layer("hidden").trainable = False
    assert models.count_parameters(model) == models.ParameterCount(trainable=8, frozen=24)
    model.trainable = False
    assert models.count_parameters(model) == models.ParameterCount(trainable=0, frozen=32)


def test_parameter_count_is_shown_with_thousands():
    assert str(models.ParameterCount(12345, 6789000)) == "12,345 trainable, 6,789,000 frozen"


@pytest.mark.parametrize(("name", "layers"), [("VGG16", 16), ("ResNet50", 50)])
def test_depth_is_the_number_in_the_networks_name(name, layers):
    # 32 pixels, the smallest that VGG16 takes, keep its dense layers small
    assert models.depth(getattr(keras.applications, name)(weights=None, input_shape=(32, 32, 3), classes=2)) == layers


def test_depth_counts_the_longest_way_through_branches():
    inputs = keras.Input((8, 8, 3))
    long = keras.layers.Conv2D(3, 1)(keras.layers.DepthwiseConv2D(1)(inputs))
    joined = keras.layers.Add()([keras.layers.Conv2D(3, 1)(inputs), long, inputs])
    outputs = keras.layers.Dense(2)(keras.layers.ReLU()(joined))
    assert models.depth(keras.Model(inputs, outputs)) == 3


@pytest.mark.parametrize("image_size", [32, 160])
def test_small_cnn_gives_probabilities_at_any_image_size(rng, image_size):
    model = models.small_cnn(image_size, n_classes=7)
    images = rng.uniform(0, 255, (2, image_size, image_size, 3)).astype(np.float32)
    probabilities = np.asarray(model(images))
    assert probabilities.shape == (2, 7)
    assert probabilities.min() > 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)  # float32
    # the same size inside, so the number of parameters does not grow with the image
    assert model.count_params() == 16 * 28 + 32 * 145 + 64 * 289 + 7 * (6 * 6 * 64 + 1)


def test_small_cnn_is_trainable_as_a_whole():
    assert models.count_parameters(models.small_cnn(32, 2)).frozen == 0


def test_saved_models_with_a_backbone_need_nothing_of_the_course_to_be_loaded(backbones, rng, tmp_path, run_python):
    images = rng.uniform(0, 255, (2, SIZE, SIZE, 3)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    expected = {}
    for name in ("efficientnet-lite0", "VGG16"):  # VGG16 swaps the colours, which is an operation and no layer
        head = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
        model = keras.Sequential([backbones[name], *head])
        model.save(tmp_path / f"{name}.keras")
        expected[name] = model.predict(images, verbose=0)
    code = (
        "import sys, keras, numpy as np; images = np.load('images.npy')\n"
        "for name in sys.argv[1:]:\n"
        "    np.save(name, keras.models.load_model(f'{name}.keras').predict(images, verbose=0))\n"
        "print([m for m in sys.modules if m.startswith('helpers')])"
    )
    assert run_python(code, *expected, cwd=tmp_path) == "[]"
    for name, predictions in expected.items():
        scale = max(1, np.abs(predictions).max())  # untrained networks may answer with large numbers
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), predictions, atol=1e-6 * scale)


def test_training_from_the_starting_point_can_be_repeated(rng):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.BatchNormalization(), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(keras.optimizers.Adam(0.1), "mse")  # keeps moments and a step number
    inputs, targets = rng.normal(size=(8, 4)).astype(np.float32), np.ones((8, 1), np.float32)
    before = [weights.copy() for weights in model.get_weights()]
    go_back = models.starting_point(model)
    trained = []
    for _ in range(2):
        model.fit(inputs, targets, epochs=2, shuffle=False, verbose=0)
        trained.append(model.get_weights())
        assert not np.allclose(trained[-1][-2], before[-2])
        go_back()
        for found, expected in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(found, expected)
    for first, second in zip(*trained, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)  # the same float32 steps, dropout's masks included
