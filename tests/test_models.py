import functools
import importlib
import re
import urllib.request

import keras
import numpy as np
import pytest

from helpers import config, efficientnet_lite, lessons, models, torch_weights

SIZE = 64
AMOUNTS = ("few", "some", "many")
WHITE, BLACK, COLOURED = (255, 255, 255), (0, 0, 0), (200, 100, 30)
APPLICATIONS = {
    "MobileNetV2": "mobilenet_v2",
    "VGG16": "vgg16",
    "ResNet50": "resnet50",
    "ResNet50V2": "resnet_v2",
    "EfficientNetB0": "efficientnet",
}


@functools.cache
def untrained(name: str, preprocessing: str = "own") -> keras.Model:
    return models.backbone(name, SIZE, weights=None, preprocessing=preprocessing)


def fed(model: keras.Model, colour: tuple) -> np.ndarray:
    """What the first layer of the network itself is fed for one colour."""
    before = ("image", "preprocessing", "divided_by_255")
    first = next(layer for layer in model.layers if layer.name not in before)
    pixels = np.broadcast_to(np.array(colour, np.float32), (1, SIZE, SIZE, 3))
    return np.asarray(keras.Model(model.input, first.input)(pixels))[0, 0, 0]


# --- backbones


@pytest.mark.parametrize("colour", [WHITE, BLACK, COLOURED])
@pytest.mark.parametrize("name", config.BACKBONES)
def test_network_is_fed_as_when_it_was_trained(name, colour):
    pixels = np.array(colour, np.float32)
    if name == "efficientnet-lite0":
        expected = (pixels - 127) / 128
    else:
        module = importlib.import_module(f"keras.applications.{APPLICATIONS[name]}")
        expected = module.preprocess_input(pixels.reshape(1, 1, 1, 3).copy())[0, 0, 0]
    np.testing.assert_allclose(fed(untrained(name), colour), expected, atol=1e-5)  # float32, in another order


@pytest.mark.parametrize("name", ["VGG16", "MobileNetV2", "EfficientNetB0", "efficientnet-lite0"])
def test_usual_mistake_divides_by_255_what_the_published_network_is_fed(name):
    right, misfed = untrained(name), untrained(name, "divide_by_255")
    expected = np.array(COLOURED) / 255
    if name == "efficientnet-lite0":  # it rescales inside, as EfficientNetB0 does in layers after the first
        expected = (expected - 127) / 128
    np.testing.assert_allclose(fed(misfed, COLOURED), expected, atol=1e-6)  # float32
    assert (misfed.name, misfed.output_shape, misfed.count_params()) == (name, right.output_shape, right.count_params())
    models.unfreeze_above(misfed, lessons.FREEZE_POINTS[name]["some"])  # its layers have their names


@pytest.mark.parametrize(
    ("name", "channels"), list(zip(config.BACKBONES, (1280, 1280, 512, 2048, 2048, 1280), strict=True))
)
def test_backbone_goes_from_images_to_feature_maps(name, channels):
    model = untrained(name)
    assert model.name == name
    assert model.input_shape == (None, SIZE, SIZE, 3)
    assert model.output_shape == (None, 2, 2, channels)  # each halves the image five times


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="backbone 'AlexNet': choose from efficientnet-lite0, MobileNetV2"):
        models.backbone("AlexNet", SIZE)
    with pytest.raises(ValueError, match="no weights 'noisy': choose 'imagenet'"):
        models.backbone("VGG16", SIZE, weights="noisy")
    with pytest.raises(ValueError, match="no preprocessing 'none': choose 'own' or 'divide_by_255'"):
        models.backbone("VGG16", SIZE, preprocessing="none")


def test_imagenet_weights_are_the_default():
    stem = models.backbone("efficientnet-lite0", SIZE).get_layer("stem_conv").get_weights()[0]
    published = torch_weights.read(efficientnet_lite._weights_file(), efficientnet_lite.WEIGHTS_SHA256)
    np.testing.assert_array_equal(stem[2, 0, 1], published["_conv_stem.weight"][:, 1, 2, 0])
    assert not np.allclose(stem, untrained("efficientnet-lite0").get_layer("stem_conv").get_weights()[0])


@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetB0"])
def test_weights_that_cannot_be_downloaded_give_one_sentence_with_the_way_out(monkeypatch, tmp_path, name):
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setattr(urllib.request, "_opener", None)  # which remembers proxies
    monkeypatch.setattr(importlib.import_module("keras.src.utils.file_utils").config, "keras_home", lambda: tmp_path)
    with pytest.raises(ValueError, match=f"ImageNet weights of {name} could not be downloaded") as error:
        models.backbone(name, 96)
    assert "COURSE_BACKBONE=efficientnet-lite0" in str(error.value)
    assert "\n" not in str(error.value)


def test_other_errors_of_keras_pass_unchanged(monkeypatch):
    def refuse(**_):
        raise ValueError("no room for this network")

    monkeypatch.setattr(keras.applications, "VGG16", refuse)
    with pytest.raises(ValueError, match=r"^no room for this network$"):
        models.backbone("VGG16", 64)


def saved_by_keras(name, folder, monkeypatch) -> keras.Model:
    """Keras's network with the weights it saves, of EfficientNet with deviations for variances, as in Keras's own."""
    monkeypatch.setenv("COURSE_WEIGHTS", str(folder))
    network = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    if name == "EfficientNetB0":
        norm = next(layer for layer in network.layers if isinstance(layer, keras.layers.Normalization))
        norm.set_weights([np.array(v, np.float32) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 0)])
    network.save_weights(folder / f"{name}_notop.weights.h5")
    return network


@pytest.mark.parametrize("preprocessing", ["own", "divide_by_255"])
def test_weights_are_taken_from_course_weights(monkeypatch, tmp_path, preprocessing):
    saved = saved_by_keras("MobileNetV2", tmp_path, monkeypatch)
    assert models.weights_file("VGG16") is None
    network = models.backbone("MobileNetV2", SIZE, preprocessing=preprocessing)
    for found, expected in zip(network.get_weights(), saved.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_deviations_in_the_file_of_efficientnet_become_variances(monkeypatch, tmp_path):
    saved_by_keras("EfficientNetB0", tmp_path, monkeypatch)
    network = models.backbone("EfficientNetB0", SIZE)
    to_stem = keras.Model(network.input, network.get_layer("stem_conv_pad").input)
    pixels = np.broadcast_to(np.array(COLOURED, np.float32), (1, SIZE, SIZE, 3))
    standard = (np.array(COLOURED) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(to_stem(pixels)[0, 0, 0], standard, atol=1e-5)  # float32


@pytest.mark.filterwarnings("ignore:Skipping nested container")
@pytest.mark.parametrize("trouble", ["cut off", "another network's"])
def test_file_without_the_networks_weights_is_refused_by_name(monkeypatch, tmp_path, trouble):
    saved_by_keras("MobileNetV2", tmp_path, monkeypatch)
    file, name = tmp_path / "MobileNetV2_notop.weights.h5", "MobileNetV2"
    if trouble == "cut off":
        file.write_bytes(file.read_bytes()[:10_000])
    else:
        file.rename(tmp_path / f"{(name := 'VGG16')}_notop.weights.h5")
    with pytest.raises(ValueError, match=rf"{name}_notop\.weights\.h5 does not hold the weights of this network"):
        models.backbone(name, SIZE)


@pytest.mark.parametrize("name", ["efficientnet-lite0", "VGG16"])  # VGG16 swaps the colours: an operation, no layer
def test_saved_model_with_a_backbone_needs_nothing_of_the_course_and_predicts_the_same(rng, tmp_path, name):
    model = keras.Sequential([untrained(name), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
    images = rng.uniform(0, 255, (2, SIZE, SIZE, 3)).astype(np.float32)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    expected = model.predict(images, verbose=0)
    scale = max(1, np.abs(expected).max())  # untrained networks may answer with large numbers
    np.testing.assert_allclose(loaded.predict(images, verbose=0), expected, atol=1e-6 * scale)
    assert set(re.findall(r'"module": "(\w+)', model.to_json())) == {"keras"}


# --- what is trained


def trained_layers(network: keras.Model) -> list[str]:
    trained = {id(weights) for weights in network.trainable_weights}
    return [layer.name for layer in network.layers if any(id(weights) in trained for weights in layer.weights)]


@pytest.mark.parametrize("name", config.BACKBONES)
def test_all_above_a_freeze_point_but_batch_norm_is_trained_and_nothing_below(name):
    network, trained = untrained(name), []
    norms = [layer.name for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert bool(norms) == (name != "VGG16")
    for amount in AMOUNTS:
        point = lessons.FREEZE_POINTS[name][amount]
        network.trainable = amount == "some"  # whatever was trainable before
        models.unfreeze_above(network, point)
        below = keras.Model(network.input, network.get_layer(point).output)
        above = keras.Model(network.get_layer(point).output, network.output)  # refused if a branch goes past the layer
        weighted = [layer.name for layer in above.layers if layer.weights]
        assert trained_layers(network) == [layer for layer in weighted if layer not in norms]
        assert not any(layer.trainable for layer in below.layers)
        assert not any(network.get_layer(norm).trainable for norm in norms)
        assert below.count_params() + above.count_params() == network.count_params()
        trained.append(models.count_parameters(network).trainable)
    assert 0 < trained[0] < trained[1] < trained[2] < network.count_params()


def test_some_is_the_customary_amount():
    for name, n_layers in [("VGG16", 4), ("MobileNetV2", 20)]:
        names = [layer.name for layer in untrained(name).layers]
        assert len(names) - 1 - names.index(lessons.FREEZE_POINTS[name]["some"]) == n_layers


def test_freeze_point_that_is_no_layer_is_refused_with_the_last_ones():
    network = untrained("VGG16")
    before = [layer.trainable for layer in network.layers]
    with pytest.raises(ValueError, match=r"VGG16 has no layer 'block6_pool': its last ones are .*block5_pool"):
        models.unfreeze_above(network, "block6_pool")
    assert [layer.trainable for layer in network.layers] == before


def test_fine_tuning_changes_the_weights_above_and_no_statistics_scales_or_frozen_weights(rng):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.ReLU(name="last_frozen")(keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(inputs)))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, name="above")(x))
    network = keras.Model(inputs, x)
    models.unfreeze_above(network, "last_frozen")
    model = keras.Sequential([network, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2, "softmax")])
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    before = [weights.copy() for weights in network.get_weights()]
    model.fit(rng.normal(5, 3, (8, 8, 8, 3)), np.arange(8) % 2, verbose=0)
    after = zip(network.weights, network.get_weights(), before, strict=True)
    changed = [weights.path for weights, new, old in after if not np.array_equal(new, old)]
    assert changed == ["above/kernel", "above/bias"]


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("VGG16", ["block1", "block2", "block3", "block4", "block5"]),
        ("efficientnet-lite0", ["stem", "block1a", "block2a", "block2b", "block7a", "top"]),
        ("EfficientNetB0", ["stem", "block1a", "block2a", "block2b", "block7a", "top"]),
        ("MobileNetV2", ["block_1", "block_2", "block_16", "Conv_1"]),
        ("ResNet50", ["conv2_block1", "conv2_block2", "conv5_block3"]),
        ("ResNet50V2", ["conv2_block1", "conv2_block2", "conv5_block3"]),
    ],
)
def test_block_table_has_the_networks_blocks_in_order_and_the_networks_sums(name, blocks):
    network = untrained(name)
    models.unfreeze_above(network, lessons.FREEZE_POINTS[name]["some"])
    table = models.trainable_by_block(network)
    assert [block for block in table.index if block in blocks] == blocks
    for block in blocks:
        members = [layer for layer in network.layers if f"{layer.name}_".startswith(f"{block}_")]
        assert table.loc[block, "layers"] == len(members) > 1
    assert table["layers"].sum() == len(network.layers)
    assert table["parameters"].sum() == network.count_params()
    assert table["trainable"].sum() == models.count_parameters(network).trainable > 0
    assert table.loc[blocks[0], "trainable"] == 0


def test_block_table_counts_what_is_trained_in_part_of_a_block():
    network = untrained("VGG16")
    models.unfreeze_above(network, "block5_conv2")
    convolution = 3 * 3 * 512 * 512 + 512
    row = models.trainable_by_block(network).loc["block5"]
    assert row.to_dict() == dict(layers=4, parameters=3 * convolution, trainable=convolution)


def test_parameters_are_counted_as_trainable_and_frozen():
    layers = [keras.Input((3,)), keras.layers.Dense(4, name="hidden"), keras.layers.BatchNormalization(name="norm")]
    model = keras.Sequential(layers)
    # 3 × 4 weights and 4 biases; 4 scales and 4 shifts; 4 means and 4 variances, which training does not fit
    assert models.count_parameters(model) == models.ParameterCount(trainable=24, frozen=8)
    model.get_layer("hidden").trainable = False
    assert models.count_parameters(model) == models.ParameterCount(trainable=8, frozen=24)
    assert str(models.ParameterCount(12345, 6789000)) == "12,345 trainable, 6,789,000 frozen"


# --- training without transfer, and again


@pytest.mark.parametrize("image_size", [32, 48, 160])
def test_small_cnn_gives_probabilities_at_any_image_size_and_is_trained_as_a_whole(rng, image_size):
    model = models.small_cnn(image_size, n_classes=7)
    probabilities = np.asarray(model(rng.uniform(0, 255, (2, image_size, image_size, 3)).astype(np.float32)))
    assert probabilities.shape == (2, 7)
    assert probabilities.min() > 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)  # float32
    # large images are reduced to 48 × 48, so the number of parameters does not grow with them
    side = min(image_size, 48) // 8
    n_parameters = 16 * 28 + 32 * 145 + 64 * 289 + 7 * (side * side * 64 + 1)
    assert models.count_parameters(model) == models.ParameterCount(n_parameters, 0)


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
        model.optimizer.learning_rate = 0.05  # of this training only
        model.fit(inputs, targets, epochs=2, shuffle=False, verbose=0)
        trained.append(model.get_weights())
        assert not np.allclose(trained[-1][-2], before[-2])
        go_back()
        assert float(model.optimizer.learning_rate) == pytest.approx(0.1)
        for found, expected in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(found, expected)
    for first, second in zip(*trained, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)  # the same float32 steps, dropout's masks included
