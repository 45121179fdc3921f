import keras
import numpy as np
import pytest
import tensorflow_hub

from helpers import hub


@pytest.fixture(scope="module")
def backbone() -> keras.Model:
    """A small network with BatchNorm and Dropout, which behave otherwise in training: RGB bytes to (4, 4, 5)."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(5, 3, strides=2, padding="same")(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5)(x)
    model = keras.Model(inputs, x)
    generator = np.random.default_rng(0)
    model.set_weights([generator.uniform(0.5, 1.5, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def handle(backbone, tmp_path_factory) -> str:
    return hub.export(backbone, "tiny", tmp_path_factory.mktemp("hub"))


@pytest.fixture
def layer(handle) -> hub.HubLayer:
    return hub.HubLayer(handle)


def classifier(handle: str) -> keras.Model:
    keras.utils.set_random_seed(1)
    layers = [keras.Input((8, 8, 3)), hub.HubLayer(handle), keras.layers.Dense(2, activation="softmax")]
    return keras.Sequential(layers)


@pytest.fixture
def images(rng) -> np.ndarray:
    return rng.random((3, 8, 8, 3), dtype=np.float32)


@pytest.mark.parametrize("training", [False, True])
def test_hub_layer_gives_the_pooled_features_of_the_exported_backbone(backbone, layer, images, training):
    pooled = np.asarray(backbone(255 * images, training=False)).mean(axis=(1, 2))
    # the same float32 arithmetic, perhaps in another order
    np.testing.assert_allclose(layer(images, training=training), pooled, rtol=1e-5)


def test_hub_layer_is_frozen_and_counts_the_parameters_of_the_backbone(backbone, layer):
    assert layer.trainable_weights == []
    assert not layer.trainable
    assert layer.count_params() == backbone.count_params() > 0


def test_hub_layer_computes_in_float32_whatever_the_policy(handle, images, set_precision):
    expected = hub.HubLayer(handle)(images)
    set_precision("mixed_float16")
    np.testing.assert_array_equal(classifier(handle).layers[0](images), expected)


def test_hub_layer_knows_the_shape_of_its_features(layer):
    assert layer.compute_output_shape((None, 8, 8, 3)) == (None, 5)
    assert layer(keras.Input((8, 8, 3))).shape == (None, 5)


def test_training_a_head_leaves_the_features_as_they_are(handle, images):
    model = classifier(handle)
    model.compile("sgd", "sparse_categorical_crossentropy")
    features, head = np.asarray(model.layers[0](images)), model.layers[1].get_weights()[0]
    model.fit(images, np.array([0, 1, 1]), epochs=2, verbose=0)
    np.testing.assert_array_equal(model.layers[0](images), features)
    assert not np.allclose(model.layers[1].get_weights()[0], head)
    assert len(model.trainable_weights) == 2


def test_saved_model_with_a_hub_layer_predicts_the_same_in_a_process_that_imports_helpers_hub(
    handle, images, tmp_path, run_python
):
    model = classifier(handle)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, keras, numpy as np; from helpers import hub; model = keras.models.load_model(sys.argv[1]); "
        "np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))"
    )
    run_python(code, *(tmp_path / name for name in ("model.keras", "images.npy", "found.npy")))
    # one float32 computation in two processes
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), model.predict(images, verbose=0), atol=1e-6)


def test_layer_of_tensorflow_hub_cannot_be_added_to_a_keras_3_model(handle):
    layer = tensorflow_hub.KerasLayer(handle)
    with pytest.raises(ValueError, match=r"Only instances of `keras\.Layer` can be added"):
        keras.Sequential([keras.Input((8, 8, 3)), layer])


def test_handle_of_no_model_is_named_with_what_to_do(tmp_path):
    handle = str(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="could not be loaded") as error:
        hub.HubLayer(handle)
    assert handle in str(error.value)
    assert "COURSE_RUN=sample" in str(error.value)
    assert "\n" not in str(error.value)
