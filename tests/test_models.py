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


@pytest.fixture(scope="module")
def misfed_backbones() -> dict[str, keras.Model]:
    return {name: models.backbone(name, SIZE, weights=None, own_preprocessing=False) for name in config.BACKBONES}


@pytest.mark.parametrize("name", APPLICATIONS)
@pytest.mark.parametrize("colour", [WHITE, COLOURED])
def test_without_its_own_preprocessing_a_255th_reaches_the_network(misfed_backbones, name, colour):
    expected = np.array(colour, np.float32) / 255
    np.testing.assert_allclose(preprocessed(misfed_backbones[name], colour), expected, atol=1e-6)  # float32


@pytest.mark.parametrize("name", ["efficientnet-lite0", "EfficientNetB0"])
def test_network_that_rescales_inside_does_so_after_the_division_by_255(backbones, misfed_backbones, rng, name):
    images = rng.uniform(0, 255, (2, SIZE, SIZE, 3)).astype(np.float32)
    right, misfed = backbones[name], misfed_backbones[name]
    before = right.get_weights()
    right.set_weights(misfed.get_weights())
    found, expected, unmistaken = map(np.asarray, (misfed(images), right(images / 255), right(images)))
    right.set_weights(before)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())  # float32 through 150 layers
    assert np.abs(found - unmistaken).max() > 0.1 * np.abs(expected).max()


@pytest.mark.parametrize("name", config.BACKBONES)
def test_wrong_preprocessing_changes_neither_shapes_nor_name(backbones, misfed_backbones, name):
    right, misfed = backbones[name], misfed_backbones[name]
    assert misfed.name == name
    assert misfed.input_shape == right.input_shape
    assert misfed.output_shape == right.output_shape
    assert misfed.count_params() == right.count_params()


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
    position = names.index(models.FREEZE_POINTS[name]["few"])
    before, after = (
        sum(layer.count_params() for layer in part)
        for part in (backbones[name].layers[: position + 1], backbones[name].layers[position + 1 :])
    )
    assert before > 0
    # what is fine-tuned is the top: fewer layers than stay frozen, but weights to tune
    assert 0 < len(names) - position - 1 < position
    assert after > 0.1 * (before + after)


AMOUNTS = ("few", "some", "many")


def test_every_backbone_has_three_freeze_points():
    assert {name: tuple(points) for name, points in models.FREEZE_POINTS.items()} == dict.fromkeys(
        config.BACKBONES, AMOUNTS
    )


@pytest.mark.parametrize("name", config.BACKBONES)
@pytest.mark.parametrize("amount", AMOUNTS)
def test_network_can_be_cut_at_a_freeze_point(backbones, name, amount):
    network = backbones[name]
    cut = network.get_layer(models.FREEZE_POINTS[name][amount])
    top = keras.Model(cut.output, network.output)  # Keras refuses where a branch goes past the layer
    bottom = keras.Model(network.input, cut.output)
    assert len(bottom.layers) + len(top.layers) - 1 == len(network.layers)  # the top has an input layer of its own
    assert bottom.count_params() + top.count_params() == network.count_params()


@pytest.mark.parametrize("name", config.BACKBONES)
def test_more_is_trained_from_few_to_many_and_never_all(backbones, name):
    network, trained = backbones[name], []
    for amount in AMOUNTS:
        models.unfreeze_above(network, models.FREEZE_POINTS[name][amount])
        trained.append(models.count_parameters(network).trainable)
    assert 0 < trained[0] < trained[1] < trained[2] < network.count_params()


@pytest.mark.parametrize(
    ("name", "first"),
    [("VGG16", "block5_conv1"), ("MobileNetV2", "block_15_expand"), ("ResNet50", "conv5_block1_1_conv")],
)
def test_some_is_the_customary_amount(backbones, name, first):
    names = [layer.name for layer in backbones[name].layers]
    position = names.index(models.FREEZE_POINTS[name]["some"])
    assert names[position + 1] == first
    if name == "MobileNetV2":
        assert len(names) - position - 1 == 20


def trained_layers(network: keras.Model) -> list[str]:
    trained = {id(weights) for weights in network.trainable_weights}
    return [layer.name for layer in network.layers if any(id(weights) in trained for weights in layer.weights)]


def test_vgg16_above_block_4_trains_the_three_convolutions_of_block_5(backbones):
    network = backbones["VGG16"]
    network.trainable = False  # as it is while its head is trained
    models.unfreeze_above(network, "block4_pool")
    assert trained_layers(network) == ["block5_conv1", "block5_conv2", "block5_conv3"]
    assert len(network.trainable_weights) == 6


@pytest.mark.parametrize("name", config.BACKBONES)
def test_no_batch_norm_and_nothing_up_to_the_freeze_point_is_trainable(backbones, name):
    network = backbones[name]
    for amount in AMOUNTS:
        last_frozen = models.FREEZE_POINTS[name][amount]
        network.trainable = amount == "some"  # whatever was trainable before
        models.unfreeze_above(network, last_frozen)
        norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
        assert bool(norms) == (name != "VGG16")
        assert not any(layer.trainable for layer in norms)
        frozen = {layer.name for layer in keras.Model(network.input, network.get_layer(last_frozen).output).layers}
        assert not any(network.get_layer(layer_name).trainable for layer_name in frozen)
        above = [layer for layer in network.layers if layer.name not in frozen and layer not in norms]
        assert trained_layers(network) == [layer.name for layer in above if layer.weights]


def test_unfreezing_again_is_as_on_a_fresh_network(backbones):
    network, fresh = backbones["MobileNetV2"], models.backbone("MobileNetV2", SIZE, weights=None)
    for last_frozen in ("block_9_add", "block_15_add", "block_14_add"):
        models.unfreeze_above(network, last_frozen)
    models.unfreeze_above(fresh, "block_14_add")
    assert [layer.trainable for layer in network.layers] == [layer.trainable for layer in fresh.layers]
    assert trained_layers(network) == trained_layers(fresh)


def test_freeze_point_that_is_no_layer_is_refused_with_the_last_ones(backbones):
    network = backbones["VGG16"]
    before = [layer.trainable for layer in network.layers]
    with pytest.raises(
        ValueError, match=r"VGG16 has no layer 'block6_pool': its last ones are block4_pool, .*block5_pool"
    ):
        models.unfreeze_above(network, "block6_pool")
    assert [layer.trainable for layer in network.layers] == before


def classifier_of(network: keras.Model, **call) -> keras.Model:
    """A model of two classes on top of a network, for inputs of its size."""
    inputs = keras.Input(network.input_shape[1:])
    features = keras.layers.GlobalAveragePooling2D()(network(inputs, **call))
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(features))


@pytest.mark.parametrize("name", ["efficientnet-lite0", "ResNet50V2"])
def test_fine_tuning_changes_the_weights_above_and_no_statistics_scales_or_frozen_weights(backbones, rng, name):
    network = backbones[name]
    models.unfreeze_above(network, models.FREEZE_POINTS[name]["some"])
    model = classifier_of(network)
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", run_eagerly=True)
    before = {weights.path: np.array(weights) for weights in network.weights}
    model.fit(rng.uniform(0, 255, (4, SIZE, SIZE, 3)), np.array([0, 1, 1, 0]), batch_size=2, verbose=0)
    trained = {weights.path for weights in network.trainable_weights}
    changed = {weights.path for weights in network.weights if not np.array_equal(weights, before[weights.path])}
    assert len(before) == len(network.weights) > len(trained) > 0
    assert changed == trained
    assert not any(part in path for path in changed for part in ("gamma", "beta", "moving_mean", "moving_variance"))


def tiny_network() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(4, 3)(inputs))
    return keras.Model(inputs, keras.layers.ReLU()(outputs))


@pytest.mark.parametrize("call", [{}, {"training": False}])
@pytest.mark.parametrize(
    ("trained", "moved"),
    [("all", True), ("none", False), ("all but batch norm", False)],
    ids=["all", "none", "no norm"],
)
def test_only_freezing_keeps_batch_norm_from_moving_its_statistics_in_fit(rng, call, trained, moved):
    # fit calls every layer with training=True, whatever the network was called with: why unfreeze_above freezes them
    network = tiny_network()
    network.trainable = trained != "none"
    if trained == "all but batch norm":
        network.get_layer("norm").trainable = False
    model = classifier_of(network, **call)
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    before = [weights.copy() for weights in network.get_weights()]
    model.fit(rng.normal(5, 3, (8, 8, 8, 3)), np.zeros(8), verbose=0)
    changed = [not np.array_equal(*pair) for pair in zip(network.get_weights(), before, strict=True)]
    statistics = [weights.name.startswith("moving_") for weights in network.weights]
    assert sum(statistics) == 2
    assert changed == [moved and is_statistic for is_statistic in statistics]


def test_block_table_counts_layers_parameters_and_what_is_trained_in_each_block(backbones):
    network = backbones["VGG16"]
    models.unfreeze_above(network, "block5_conv2")
    table = models.trainable_by_block(network)
    assert list(table.columns) == ["layers", "parameters", "trainable"]
    blocks = [f"block{i}" for i in range(1, 6)]
    assert list(table.index) == ["image", "preprocessing", *blocks]
    assert table.loc[blocks, "layers"].tolist() == [3, 3, 4, 4, 4]  # convolutions and the pooling after them
    convolution = 3 * 3 * 512 * 512 + 512
    assert table.loc["block5"].tolist() == [4, 3 * convolution, convolution]
    assert table.loc["block1"].tolist() == [3, (3 * 3 * 3 + 1) * 64 + (3 * 3 * 64 + 1) * 64, 0]


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("efficientnet-lite0", ["stem", "block1a", "block2a", "block2b", "block7a", "top"]),
        ("EfficientNetB0", ["stem", "block1a", "block2a", "block2b", "block7a", "top"]),
        ("MobileNetV2", ["block_1", "block_2", "block_16", "Conv_1"]),
        ("ResNet50", ["conv2_block1", "conv2_block2", "conv5_block3"]),
        ("ResNet50V2", ["conv2_block1", "conv2_block2", "conv5_block3"]),
    ],
)
def test_block_table_has_the_networks_blocks_in_order_and_the_networks_sums(backbones, name, blocks):
    network = backbones[name]
    models.unfreeze_above(network, models.FREEZE_POINTS[name]["some"])
    table = models.trainable_by_block(network)
    assert [block for block in table.index if block in blocks] == blocks
    for block in blocks:
        members = [layer for layer in network.layers if f"{layer.name}_".startswith(f"{block}_")]
        assert table.loc[block, "layers"] == len(members) > 1
    assert table["layers"].sum() == len(network.layers)
    assert table["parameters"].sum() == network.count_params()
    assert table["trainable"].sum() == models.count_parameters(network).trainable > 0
    assert table.loc[blocks[0], "trainable"] == 0


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


LOSSES = {
    "binary": ("binary_crossentropy", keras.losses.BinaryCrossentropy),
    "categorical": ("categorical_crossentropy", keras.losses.CategoricalCrossentropy),
    "sparse": ("sparse_categorical_crossentropy", keras.losses.SparseCategoricalCrossentropy),
}
FITTING = {
    ("sigmoid", "binary", False),
    ("softmax", "categorical", False),
    ("softmax", "sparse", False),
    ("linear", "binary", True),
    ("linear", "categorical", True),
    ("linear", "sparse", True),
}


def compiled(activation: str, units: int, loss) -> keras.Model:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units, activation=activation)])
    model.compile(loss=loss)
    return model


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", "linear"])
@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("from_logits", [False, True])
def test_loss_fits_the_activation_it_is_meant_for(activation, kind, from_logits):
    units = 1 if kind == "binary" else 3
    model = compiled(activation, units, LOSSES[kind][1](from_logits=from_logits))
    assert models.loss_fits_output(model) is ((activation, kind, from_logits) in FITTING)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", None])
@pytest.mark.parametrize("kind", LOSSES)
def test_named_loss_expects_probabilities(activation, kind):
    model = compiled(activation, 1 if kind == "binary" else 3, LOSSES[kind][0])
    assert models.loss_fits_output(model) is ((activation, kind, False) in FITTING)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", "linear"])
@pytest.mark.parametrize("kind", ["categorical", "sparse"])
@pytest.mark.parametrize("from_logits", [False, True])
def test_loss_of_several_classes_never_fits_a_single_output(activation, kind, from_logits):
    name, loss = LOSSES[kind]
    assert models.loss_fits_output(compiled(activation, 1, loss(from_logits=from_logits))) is False
    assert models.loss_fits_output(compiled(activation, 1, name)) is False


def test_softmax_of_a_single_output_fits_no_loss():
    assert models.loss_fits_output(compiled("softmax", 1, "binary_crossentropy")) is False


def test_activation_may_be_a_layer_of_its_own():
    layers = [keras.Input((4,)), keras.layers.Dense(3), keras.layers.Activation("softmax")]
    model = keras.Sequential(layers)
    model.compile(loss="sparse_categorical_crossentropy")
    assert models.loss_fits_output(model) is True
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert models.loss_fits_output(model) is False


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_last_layer_of_a_head_that_is_a_model_counts(activation):
    head = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation=activation)])
    model = keras.Sequential([keras.Input((4,)), keras.Sequential([keras.Input((4,)), head])])
    model.compile(loss="sparse_categorical_crossentropy")
    assert models.loss_fits_output(model) is (activation == "softmax")


def test_new_process_predicts_the_same_with_augmentation_and_any_preprocessing(monkeypatch, rng, tmp_path):
    inputs = keras.Input((8, 8, 3))
    augmented = keras.layers.RandomFlip("horizontal")(inputs)
    augmented = keras.layers.RandomRotation(0.2)(augmented)
    augmented = keras.layers.RandomContrast(0.3)(augmented)
    features = []
    for name, prepare in {**models._PREPROCESSING, "wrong": models._divide_by_255}.items():
        own = keras.Input((8, 8, 3))
        prepared = keras.Model(own, prepare(keras.layers.Identity()(own)), name=name)(augmented)
        features.append(keras.layers.GlobalAveragePooling2D()(prepared))
    model = keras.Model(inputs, keras.layers.Concatenate()(features))
    images = rng.uniform(0, 255, (3, 8, 8, 3)).astype(np.float32)
    model.save(tmp_path / "toy.keras")
    monkeypatch.chdir(tmp_path)
    found = models.predict_in_new_process("toy.keras", images)  # a relative path counts from here
    assert (found.shape, found.dtype) == ((3, 18), np.float32)
    assert len(np.unique(found.round(3), axis=1).T) > 9
    np.testing.assert_allclose(found, model.predict(images, verbose=0), rtol=1e-5, atol=1e-5)  # the same float32 steps
    assert list(tmp_path.iterdir()) == [tmp_path / "toy.keras"]


def test_file_that_is_no_model_does_not_load_in_a_new_process(tmp_path):
    (tmp_path / "no.keras").write_text("no model")
    with pytest.raises(
        ValueError, match=r"no\.keras does not load or predict in a process of its own: .*\.keras"
    ) as error:
        models.predict_in_new_process(tmp_path / "no.keras", np.zeros((1, 8, 8, 3), np.float32))
    assert "\n" not in str(error.value)


def test_layer_that_only_this_process_knows_does_not_load_in_a_new_one(tmp_path):
    class Halve(keras.layers.Layer):
        def call(self, x):
            return x / 2

    path = tmp_path / "custom.keras"
    keras.Sequential([keras.Input((8, 8, 3)), Halve()]).save(path)
    here = keras.saving.load_model(path, custom_objects={"Halve": Halve})
    assert here.predict(np.ones((1, 8, 8, 3)), verbose=0).max() == 0.5
    with pytest.raises(ValueError, match=r"custom\.keras does not load or predict in a process of its own: .*'Halve'"):
        models.predict_in_new_process(path, np.ones((1, 8, 8, 3), np.float32))


def test_misfed_lite0_keeps_the_names_of_its_layers():
    network = models.backbone("efficientnet-lite0", 64, None, own_preprocessing=False)
    models.unfreeze_above(network, models.FREEZE_POINTS["efficientnet-lite0"]["some"])


def test_no_batch_norm_of_misfed_lite0_is_trainable():
    network = models.backbone("efficientnet-lite0", 64, None, own_preprocessing=False)
    models.unfreeze_above(network, "preprocessing")
    norms = [layer for layer in network._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) > 40
    assert not any(layer.trainable for layer in norms)


def test_images_of_a_wrong_size_are_said_to_be_the_reason(tmp_path):
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Dense(2)])
    model.save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="shape"):
        models.predict_in_new_process(tmp_path / "m.keras", np.zeros((1, 4, 4, 5), np.float32))


@pytest.mark.parametrize("loss", ["mse", keras.losses.MeanSquaredError(), keras.losses.Poisson()])
def test_loss_that_is_no_cross_entropy_is_refused(loss):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.compile(loss=loss)
    with pytest.raises(ValueError, match="cross-entropies only"):
        models.loss_fits_output(model)
