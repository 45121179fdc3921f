import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import config, hub, lessons, models


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


@pytest.fixture(scope="module")
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


def test_hub_layer_is_frozen_and_knows_its_parameters_and_its_shape(backbone, layer):
    assert layer.trainable_weights == []
    assert not layer.trainable
    assert layer.count_params() == backbone.count_params() > 0
    assert layer(keras.Input((8, 8, 3))).shape == (None, 5)


def test_hub_layer_computes_in_float32_whatever_the_policy(handle, layer, images, set_precision):
    set_precision("mixed_float16")
    np.testing.assert_array_equal(classifier(handle).layers[0](images), layer(images))


def test_tfsm_layer_gives_the_same_features_in_a_dictionary_that_sequential_cannot_hand_on(handle, layer, images):
    """What lesson 02 says of Keras's own layer for SavedModels."""
    saved_model = keras.layers.TFSMLayer(handle, call_endpoint="serving_default", trainable=False)
    outputs = saved_model(images)
    assert [*outputs] == ["output_0"]
    np.testing.assert_allclose(outputs["output_0"], layer(images), rtol=1e-5)  # float32, perhaps in another order
    with pytest.raises((AttributeError, KeyError, TypeError, ValueError)):
        keras.Sequential([keras.Input((8, 8, 3)), saved_model, keras.layers.Dense(2)])


# --- saved models


def test_saved_model_predicts_the_same_in_a_process_that_names_its_handle_and_is_refused_before(
    handle, images, tmp_path, run_python
):
    model = classifier(handle)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)
    code = (
        f"import sys; sys.path.insert(0, {str(config.ROOT)!r})\n"
        "import keras, numpy as np; from helpers import hub\n"
        "try:\n    keras.saving.load_model('model.keras')\n"
        "except Exception as error:\n    print(error)\n"
        "hub.load(sys.argv[1])\n"
        "np.save('found.npy', keras.saving.load_model('model.keras').predict(np.load('images.npy'), verbose=0))"
    )
    said = run_python(code, handle, cwd=tmp_path)
    assert f"hub.load({handle!r}) first" in said
    # one float32 computation in two processes
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), model.predict(images, verbose=0), atol=1e-6)


def test_model_from_elsewhere_cannot_choose_what_is_fetched(handle, tmp_path, site):
    model = classifier(handle)
    model.layers[0].handle = site.url("model.tar.gz")
    model.save(tmp_path / "foreign.keras")
    with pytest.raises(Exception, match="which nothing in this session has asked for"):
        keras.saving.load_model(tmp_path / "foreign.keras")
    assert site.hits == []


# --- what is no feature vector


@pytest.mark.parametrize("address", ["folder", "site"])
def test_handle_of_no_model_is_named_with_what_to_do_and_is_not_trusted(tmp_path, site, address):
    handle = str(tmp_path / "nowhere") if address == "folder" else site.url("nowhere")
    with pytest.raises(ValueError, match=r"could not be loaded \(\w+\): .*COURSE_RUN=sample") as error:
        hub.HubLayer(handle)
    assert handle in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="which nothing in this session has asked for"):
        hub.HubLayer.from_config({"handle": handle})


def test_saved_model_that_cannot_be_called_is_refused(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(ValueError, match="cannot be called: choose a Hub model of the kind feature-vector"):
        hub.load(str(tmp_path))


FEATURE_MAPS = tf.TensorSpec((None, 8, 8, 3), tf.float32), lambda x: x
DICTIONARY = tf.TensorSpec((None, 8, 8, 3), tf.float32), lambda x: {"a": x[:, 0, 0], "b": x[:, 1, 1]}
PAIR = tf.TensorSpec((None, 8, 8, 3), tf.float32), lambda x: [x[:, 0, 0], x[:, 1, 1]]
OF_TEXT = tf.TensorSpec((None,), tf.string), lambda x: tf.zeros((tf.size(x), 5))
OTHER_SIZE = tf.TensorSpec((None, 9, 9, 3), tf.float32), lambda x: x[:, 0, 0]


@pytest.mark.parametrize(
    "kind",
    [FEATURE_MAPS, DICTIONARY, PAIR, OF_TEXT, OTHER_SIZE],
    ids=["maps", "dictionary", "pair", "text", "other size"],
)
def test_saved_model_of_another_kind_is_refused_when_it_is_added(tmp_path, kind):
    signature, function = kind
    module = tf.train.Checkpoint()
    module.__call__ = tf.function(function, input_signature=[signature])
    tf.saved_model.save(module, str(tmp_path))
    with pytest.raises(ValueError, match=r"does not go from images of \(8, 8, 3\) to feature vectors: choose a model"):
        keras.Sequential([keras.Input((8, 8, 3)), hub.HubLayer(str(tmp_path))])


# --- the handles that lesson 02 compares


@pytest.fixture
def build(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "BUILD", tmp_path / "build")
    return tmp_path / "build"


def test_sample_run_exports_the_embedded_network(build, rng):
    settings = dataclasses.replace(lessons.settings("02", "sample"), image_size=32)
    ((name, handle),) = hub.handles(settings).items()
    assert (name, handle) == ("efficientnet-lite0", str(build / "hub" / "efficientnet-lite0"))
    pixels = rng.integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    expected = np.asarray(models.backbone("efficientnet-lite0", 32)(pixels)).mean(axis=(1, 2))
    found = hub.HubLayer(handle)(pixels / 255)
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())  # float32 through 100 layers


def test_full_run_has_addresses_that_saved_models_may_name(build):
    settings = lessons.settings("02", "full")
    found = hub.handles(settings)
    assert found == settings.hub_models
    assert not build.exists()
    assert set(found.values()) <= hub._named


def test_full_run_exports_what_course_weights_holds(backbone, build, monkeypatch, tmp_path):
    (tmp_path / "ResNet50V2_notop.weights.h5").write_text("read by models.backbone alone, which has its own tests")
    monkeypatch.setenv("COURSE_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(models, "backbone", lambda *asked: backbone if asked == ("ResNet50V2", 224) else None)
    found = hub.handles(lessons.settings("02", "full"))
    assert found == {"ResNet50V2": str(build / "hub" / "ResNet50V2")}
    assert hub.HubLayer(found["ResNet50V2"]).count_params() == backbone.count_params()
