"""What the lessons say of Keras itself, held against the installed version."""

import keras
import numpy as np
import pytest


def base():
    image = keras.Input((8, 8, 3))
    return keras.Model(image, keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(image)))


def told_not_to_train():
    """The base called with ``training=False`` in a model of inputs and outputs."""
    image, network = keras.Input((8, 8, 3)), base()
    return keras.Model(image, network(image, training=False)), network


def told_in_call():
    class Told(keras.Model):
        def __init__(self):
            super().__init__()
            self.base = base()

        def call(self, images):
            return self.base(images, training=False)

    model = Told()
    return model, model.base


def frozen():
    """The BatchNormalization layer itself is frozen."""
    image, network = keras.Input((8, 8, 3)), base()
    network.layers[-1].trainable = False
    return keras.Model(image, network(image)), network


OVERRIDDEN = tuple(map(int, keras.__version__.split(".")[:2])) <= (3, 15)  # Keras means to change it after that


@pytest.mark.parametrize(
    ("build", "moves"),
    [
        pytest.param(told_not_to_train, True, marks=pytest.mark.skipif(not OVERRIDDEN, reason="says the lesson, too")),
        (told_in_call, False),
        (frozen, False),
    ],
)
def test_running_means_of_batch_normalization_move_in_fit_as_lesson_04_says(build, moves):
    keras.utils.set_random_seed(0)
    model, network = build()
    norm = network.layers[-1]
    before = norm.moving_mean.numpy()
    images = np.full((8, 8, 8, 3), 200.0, "float32")
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.fit(images, np.zeros((8, 6, 6, 4)), verbose=0)
    assert (np.abs(norm.moving_mean.numpy() - before).max() > 0) == moves


def test_layers_of_a_frozen_network_are_trained_by_a_model_around_it_alone_as_lesson_05_says():
    network = base()
    network.trainable = False
    network.layers[1].trainable = True
    assert network.trainable_weights == []
    model = keras.Sequential([network, keras.layers.Flatten()])
    assert [weights.path for weights in model.trainable_weights] == [
        weights.path for weights in network.layers[1].weights
    ]


def test_fit_goes_on_with_the_old_choice_until_compile_as_lesson_03_says():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="a"), keras.layers.Dense(1, name="b")])
    model.get_layer("a").trainable = False
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x, y = np.ones((4, 2)), np.ones((4, 1))
    model.fit(x, y, verbose=0)
    model.get_layer("a").trainable = True
    before = model.get_layer("a").kernel.numpy()
    model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(model.get_layer("a").kernel.numpy(), before)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(x, y, verbose=0)
    assert np.abs(model.get_layer("a").kernel.numpy() - before).max() > 0
