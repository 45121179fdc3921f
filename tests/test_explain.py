"""Grad-CAM is tested for what it means: that the heat lies where the object is."""

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from helpers import config, data, explain, models

SIZE = 64


def red_or_green(inside="flat", activation="softmax"):
    """A model that tells red (class 0) from green (class 1), its convolution at the top or in a network inside."""
    image = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    convolution = keras.layers.Conv2D(2, 8, strides=8, use_bias=False, name="colours")
    x = keras.layers.ReLU(name="maps")(convolution(x))
    kernel = np.zeros((8, 8, 3, 2), np.float32)
    kernel[..., 0, 0] = kernel[..., 1, 1] = 1 / 64
    kernel[..., 1, 0] = kernel[..., 0, 1] = -1 / 64
    convolution.set_weights([kernel])
    network = keras.Model(image, x, name="network")
    pool = keras.layers.GlobalAveragePooling2D()
    one = activation == "sigmoid"
    head = keras.layers.Dense(1 if one else 2, activation=activation)
    if inside == "flat":
        model = keras.Model(image, head(pool(x)))
    elif inside == "sequential":
        model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), network, pool, keras.Sequential([head])])
    elif inside == "functional":
        again = keras.Input((SIZE, SIZE, 3))
        model = keras.Model(again, head(pool(network(keras.layers.RandomFlip(seed=0)(again)))))
    else:  # the network inside pools, so that its maps are two levels down
        features = keras.Model(image, pool(network(image)), name="features")
        model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), features, head])
    head.set_weights([np.array([[-200.0], [200.0]]) if one else 200 * np.eye(2), np.zeros(1 if one else 2)])
    return model


@pytest.fixture
def pictures():
    """Grey, with a red square in the upper left quarter and a green one in the lower right; the second has no red."""
    images = np.full((2, SIZE, SIZE, 3), 90, np.uint8)
    images[0, 8:24, 8:24] = (250, 10, 10)
    images[:, 40:56, 40:56] = (10, 240, 10)
    return images


def share(heat, rows, columns):
    """How much of the heat lies there."""
    return heat[rows, columns].sum() / heat.sum()


UPPER, LOWER = slice(0, SIZE // 2), slice(SIZE // 2, SIZE)


@pytest.mark.parametrize("inside", ["flat", "sequential", "functional", "twice"])
def test_heat_lies_on_what_speaks_for_the_class_wherever_the_network_lies(inside, pictures):
    model = red_or_green(inside)
    red, green = (explain.grad_cam(model, pictures, class_index=c) for c in (0, 1))
    assert red.shape == (2, SIZE, SIZE)
    assert red.dtype == np.float32
    assert share(red[0], UPPER, UPPER) > 0.9
    assert share(green[0], LOWER, LOWER) > 0.9
    assert red.max(axis=(1, 2)).tolist() == [1, 0]  # nothing in the second picture is red
    np.testing.assert_array_equal(explain.grad_cam(model, pictures)[1], green[1])  # the class that is predicted


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None])
def test_heat_does_not_depend_on_the_last_activation_even_where_it_is_flat(activation, pictures):
    model = red_or_green(activation=activation)
    assert model(pictures.astype("float32")).numpy()[1].max() > 0.99  # very sure that the second is green
    heat = explain.grad_cam(model, pictures, class_index=1)
    np.testing.assert_allclose(heat, explain.grad_cam(red_or_green(), pictures, class_index=1), atol=1e-5)


def test_the_model_is_what_it_was(pictures):
    model = red_or_green("sequential")
    before, layers = model.predict(pictures.astype("float32"), verbose=0), model.get_config()
    explain.grad_cam(model, pictures)
    explain.feature_maps(model, pictures, ["maps"])
    assert model.get_config() == layers
    assert all("call" not in vars(layer) for layer in model._flatten_layers())
    np.testing.assert_array_equal(model.predict(pictures.astype("float32"), verbose=0), before)
    with pytest.raises(ValueError, match="no class 7"):
        explain.grad_cam(model, pictures, class_index=7)
    assert model.get_config() == layers


def test_a_layer_can_be_named_and_a_wrong_one_is_told(pictures):
    model = red_or_green("sequential")
    heat = explain.grad_cam(model, pictures, class_index=0, layer="maps")
    np.testing.assert_array_equal(heat, explain.grad_cam(model, pictures, class_index=0))
    with pytest.raises(ValueError, match=r"has no layer 'conv9': its last ones are "):
        explain.grad_cam(model, pictures, layer="conv9")
    with pytest.raises(ValueError, match=r"returns \(2, 2\): choose a layer that returns \(n, height"):
        explain.grad_cam(model, pictures, layer=model.layers[1].name)
    flat = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="no layer that returns feature maps"):
        explain.grad_cam(flat, np.zeros((1, 4, 4, 3)))


def test_half_precision_works(pictures, set_precision):
    set_precision("mixed_float16")
    heat = explain.grad_cam(red_or_green(), pictures, class_index=0)
    assert heat.dtype == np.float32
    assert share(heat[0], UPPER, UPPER) > 0.9


def test_feature_maps_are_what_the_layer_returns_wherever_it_lies(pictures):
    flat, nested = red_or_green(), red_or_green("twice")
    expected = keras.Model(flat.input, flat.get_layer("maps").output)(pictures.astype("float32"))
    found = explain.feature_maps(nested, pictures, ["maps", "colours"])
    assert list(found) == ["maps", "colours"]
    np.testing.assert_allclose(found["maps"], expected, atol=1e-6)
    assert found["colours"].min() < 0 == found["maps"].min()
    with pytest.raises(ValueError, match="no layer 'nose'"):
        explain.feature_maps(flat, pictures, ["nose"])


def test_embedding_keeps_groups_together_and_repeats(rng):
    centres = np.repeat(rng.normal(size=(3, 80)) * 5, 20, axis=0)
    places = explain.embedding(centres + rng.normal(size=(60, 80)))
    assert places.shape == (60, 2)
    distances = np.linalg.norm(places[:, np.newaxis] - places, axis=-1) + 1e9 * np.eye(60)
    assert np.array_equal(distances.argmin(axis=1) // 20, np.arange(60) // 20)
    few = rng.normal(size=(12, 3))
    np.testing.assert_array_equal(explain.embedding(few), explain.embedding(few))
    assert explain.embedding(few[:2]).shape == (2, 2)
    with pytest.raises(ValueError, match=r"at least 2 images, \(n, numbers\): these are \(1, 3\)"):
        explain.embedding(few[:1])


# With the real network


@pytest.fixture(scope="module")
def cats_and_dogs():
    """The embedded photographs, and a linear probe on the frozen features of EfficientNet-Lite0."""
    dataset, pool = data.find_images(config.SAMPLES / "pets"), keras.layers.GlobalAveragePooling2D()
    size = 112
    network = models.backbone("efficientnet-lite0", size)
    features = keras.Model(network.input, pool(network.output)).predict(data.read(dataset.train, size), verbose=0)
    return dataset.test, LogisticRegression(C=0.01, max_iter=1000).fit(features, dataset.train.labels)


def composed(photographs, rng):
    """Each photograph in a random quarter of a grey image of twice the size, ``(y, x)`` in {0, 1}."""
    n, size = photographs.shape[:2]
    images, quarters = np.full((n, 2 * size, 2 * size, 3), 128, np.uint8), rng.integers(2, size=(n, 2))
    for image, photograph, (y, x) in zip(images, photographs, quarters, strict=True):
        image[y * size : (y + 1) * size, x * size : (x + 1) * size] = photograph
    return images, quarters


def test_heat_lies_in_the_quarter_that_holds_the_animal(cats_and_dogs, rng):
    test, probe = cats_and_dogs
    images, quarters = composed(data.read(test, 112), rng)
    network = models.backbone("efficientnet-lite0", 224)
    head = keras.layers.Dense(1, activation="sigmoid")
    model = keras.Sequential([keras.Input((224, 224, 3)), network, keras.layers.GlobalAveragePooling2D(), head])
    head.set_weights([probe.coef_.T, probe.intercept_])
    right = (model.predict(images, verbose=0)[:, 0] > 0.5) == test.labels
    assert right.mean() > 0.8
    heat = np.concatenate([explain.grad_cam(model, few) for few in np.array_split(images[right], 8)])
    size = heat.shape[1] // 2
    shares = heat.reshape(-1, 2, size, 2, size).sum(axis=(2, 4))
    shares /= shares.sum(axis=(1, 2), keepdims=True)
    inside = shares[np.arange(len(shares)), quarters[right, 0], quarters[right, 1]]
    assert np.mean(inside > 0.5) >= 0.9  # measured: 98 %
    assert inside.mean() > 0.7
