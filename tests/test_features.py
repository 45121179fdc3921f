import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from helpers import config, data, features, hub

SIZE = 8


def network(seed: int = 0, size: int = SIZE, scale: float = 1 / 255, activation: str = "relu") -> keras.Model:
    """Raw RGB to (4, 4, 5) activations, with BatchNorm and Dropout, which behave otherwise in training."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((size, size, 3))
    x = keras.layers.Rescaling(scale)(inputs)
    x = keras.layers.Conv2D(5, 3, strides=2, padding="same", activation=activation)(x)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(inputs, keras.layers.Dropout(0.5)(x))


@pytest.fixture
def images(images_in, rng) -> data.Images:
    """70 images of noise, so three chunks."""
    found = data.find_images(
        images_in(train=dict(cat=40, dog=30), validation=dict(cat=1, dog=1), test=dict(cat=1, dog=1))
    )
    for path in found.train.paths:
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(path)
    return found.train


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "features"


@pytest.fixture
def computed(monkeypatch) -> list[int]:
    """The chunks that were computed, in order."""
    numbers, write = [], features._Kept.write
    monkeypatch.setattr(features._Kept, "write", lambda self, n, values: (numbers.append(n), write(self, n, values)))
    return numbers


def expected(model, images, size=SIZE):
    return model.predict(data.pipeline(images, size), verbose=0)


def test_features_are_what_the_network_says_in_the_order_of_the_files(images, folder):
    model = network()
    kept = features.extract(model, images, folder=folder)
    assert isinstance(kept, np.memmap)
    assert not kept.flags.writeable
    np.testing.assert_allclose(kept, expected(model, images), rtol=1e-5, atol=1e-6)  # float32, other batch sizes


def test_each_output_of_a_dictionary_is_kept(images, folder, computed):
    model = network()
    pooled = keras.layers.GlobalAveragePooling2D()(model.output)
    both = keras.Model(model.input, {"maps": model.output, "vectors": pooled})
    kept = features.extract(both, images, folder=folder)
    np.testing.assert_allclose(kept["maps"], expected(model, images), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(kept["vectors"], kept["maps"].mean(axis=(1, 2)), rtol=1e-5, atol=1e-6)
    pooled_again = keras.layers.GlobalAveragePooling2D()(model.output)  # a layer with another name
    again = keras.Model(model.input, {"maps": model.output, "vectors": pooled_again})
    features.extract(again, images, folder=folder)
    assert computed == [0, 1, 2]


def test_single_output_of_a_dictionary_stays_in_a_dictionary(images, folder):
    model = network()
    kept = features.extract(keras.Model(model.input, {"output": model.output}), images, folder=folder)
    assert list(kept) == ["output"]


def test_second_call_computes_nothing(images, folder, computed):
    first = np.array(features.extract(network(), images, folder=folder))
    computed.clear()
    again = features.extract(network(), images, folder=folder)  # its layers have other names
    assert computed == []
    np.testing.assert_array_equal(again, first)


def test_trainable_or_not_and_files_elsewhere_are_the_same_features(images, folder, computed, tmp_path):
    features.extract(network(), images, folder=folder)
    computed.clear()
    model = network()
    model.trainable = False
    (tmp_path / "set").rename(tmp_path / "moved")
    paths = [str(tmp_path / "moved" / Path(path).relative_to(tmp_path / "set")) for path in images.paths]
    moved = data.Images(np.array(paths), images.labels, images.class_names)
    features.extract(model, moved, folder=folder)
    assert computed == []


CHANGES = {
    "weights": dict(model=dict(seed=1)),
    "preprocessing": dict(model=dict(scale=1 / 127)),
    "an activation": dict(model=dict(activation="tanh")),
    "image size": dict(model=dict(size=10)),
    "augmentation": dict(flip="vertical"),
    "no augmentation": dict(flip=None),
    "views": dict(views=2),
    "seed": dict(seed=1),
    "exact": dict(exact=True),
    "one image": dict(edit=True),
    "fewer images": dict(rows=np.arange(40)),
    "order of the images": dict(rows=np.arange(70)[::-1]),
    "the layer that is read": dict(last=2),
}


def change(images, folder, model=None, flip="horizontal", views=1, seed=0, exact=False, edit=False, rows=None, last=-1):
    if edit:
        Image.new("RGB", (SIZE, SIZE), "white").save(images.paths[33])
    whole = network(**(model or {}))
    part = keras.Model(whole.input, whole.layers[last].output)
    layer = flip and keras.layers.RandomFlip(flip, seed=0)
    chosen = images if rows is None else images.select(rows)
    return features.extract(part, chosen, layer, views=views, seed=seed, exact=exact, folder=folder)


@pytest.mark.parametrize("what", CHANGES)
def test_change_of_what_decides_the_features_computes_all_of_them_anew(images, folder, computed, what):
    change(images, folder)
    computed.clear()
    kept = change(images, folder, **CHANGES[what])
    assert len(computed) == -(-len(kept) // features.CHUNK)


def test_precision_decides_too(images, folder, computed, set_precision):
    kept = []
    for policy in ("float32", "mixed_float16"):
        set_precision(policy)
        keras.utils.set_random_seed(0)
        scale, convolve = keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(2, 3)
        last = keras.layers.Dense(2, dtype="float32")
        model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), scale, convolve, last])
        kept.append(features.extract(model, images, keras.layers.RandomFlip(seed=0), folder=folder))
    assert computed == [0, 1, 2] * 2
    np.testing.assert_allclose(kept[1], kept[0], atol=0.02)  # float16 has three digits
    assert np.any(kept[1] != kept[0])


@keras.saving.register_keras_serializable("test_features")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x


def test_code_of_a_layer_of_ones_own_decides_too(images, folder, computed, monkeypatch):
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), Doubled()])
    features.extract(model, images, folder=folder)
    source = features._source
    monkeypatch.setattr(features, "_source", lambda code: source(code) + b"# edited")
    features.extract(model, images, folder=folder)
    assert computed == [0, 1, 2] * 2
    assert b"return 2 * x" in source(Doubled)


def test_weights_of_the_augmentation_decide_too(images, folder, computed):
    for mean in (0.0, 5.0):
        augmentation = keras.layers.Dense(3, kernel_initializer="identity", bias_initializer="zeros")
        augmentation.build((None, SIZE, SIZE, 3))
        augmentation.bias.assign([mean] * 3)
        features.extract(network(), images, augmentation, folder=folder)
    assert computed == [0, 1, 2] * 2


@pytest.mark.parametrize("library", ["keras", "tf"])
def test_another_version_computes_anew(images, folder, computed, library, monkeypatch):
    features.extract(network(), images, folder=folder)
    computed.clear()
    monkeypatch.setattr(getattr(features, library), "__version__", "0.1")
    features.extract(network(), images, folder=folder)
    assert computed == [0, 1, 2]


def test_another_way_of_reading_pixels_computes_anew(images, folder, computed, monkeypatch):
    features.extract(network(), images, folder=folder)
    computed.clear()
    read = data.pipeline
    monkeypatch.setattr(data, "pipeline", lambda *a, **k: read(*a, **k).map(lambda pixels, label: (pixels + 1, label)))
    features.extract(network(), images, folder=folder)
    assert computed == [0, 1, 2]


def test_first_pass_reads_no_chunk_before_it_is_written(images, folder, monkeypatch):
    read, checksum = [], features._Kept._checksum
    monkeypatch.setattr(features._Kept, "_checksum", lambda self, n: read.append(n) or checksum(self, n))
    features.extract(network(), images, folder=folder)
    assert read == [0, 1, 2]  # each once, to note what was written


def test_interrupted_pass_goes_on_where_it_stopped(images, folder, computed, monkeypatch):
    model = network()
    write = features._Kept.write

    def stop(self, chunk, values):
        if chunk == 1:
            raise KeyboardInterrupt
        write(self, chunk, values)

    with monkeypatch.context() as patched:
        patched.setattr(features._Kept, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            features.extract(model, images, folder=folder)
    computed.clear()
    kept = features.extract(model, images, folder=folder)
    assert computed == [1, 2]
    np.testing.assert_allclose(kept, expected(model, images), rtol=1e-5, atol=1e-6)


def damage(path, what):
    if what == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif what == "foreign":
        np.save(path, np.zeros((70, 4, 4, 5), np.float32))
    elif what == "other shape":
        np.save(path, np.zeros((3, 2), np.float32))
    elif what == "not an array":
        path.write_text("no array")
    elif what == "pickle":
        np.save(path, np.array([{}]))
    elif what == "missing":
        path.unlink()
    elif what == "one number":
        values = np.load(path, mmap_mode="r+")
        values[40] += 1
        values.flush()


@pytest.mark.parametrize(
    ("what", "again"),
    [
        ("truncated", [0, 1, 2]), ("foreign", [0, 1, 2]), ("other shape", [0, 1, 2]), ("not an array", [0, 1, 2]),
        ("pickle", [0, 1, 2]), ("missing", [0, 1, 2]), ("one number", [1]),
    ],
)  # fmt: skip
def test_damaged_file_is_noticed_and_made_again(images, folder, computed, what, again):
    model = network()
    first = np.array(features.extract(model, images, folder=folder))
    (path,) = folder.glob("*/output.npy")
    damage(path, what)
    computed.clear()
    np.testing.assert_array_equal(features.extract(model, images, folder=folder), first)
    assert computed == again


@pytest.mark.parametrize("text", ["", "[1]", "{", json.dumps({"0": 1, "1": 2})])
def test_spoilt_checksums_make_all_chunks_again(images, folder, computed, text):
    model = network()
    first = np.array(features.extract(model, images, folder=folder))
    next(folder.glob("*/chunks.json")).write_text(text)
    computed.clear()
    np.testing.assert_array_equal(features.extract(model, images, folder=folder), first)
    assert computed == [0, 1, 2]


def test_views_are_augmented_versions_one_whole_view_after_the_other(images, folder):
    pixels_out = keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Identity()])
    views = features.extract(pixels_out, images, keras.layers.RandomFlip("horizontal"), views=6, folder=folder)
    plain = expected(pixels_out, images)
    views = views.reshape(6, 70, SIZE, SIZE, 3)
    flipped = np.array([[np.array_equal(a, b[:, ::-1]) for a, b in zip(view, plain, strict=True)] for view in views])
    same = np.array([[np.array_equal(a, b) for a, b in zip(view, plain, strict=True)] for view in views])
    assert np.all(flipped ^ same)
    assert 0.35 < flipped.mean() < 0.65  # 420 draws of one half: 0.5 ± 6 standard deviations of 0.024
    assert len(np.unique(flipped, axis=0)) > 1, "views must differ from each other"


def test_augmented_views_do_not_depend_on_an_interruption(images, folder, computed):
    def augmentation():
        return keras.Sequential([keras.layers.RandomFlip(seed=0), keras.layers.RandomRotation(0.2, seed=0)])

    model = network()
    whole = np.array(features.extract(model, images, augmentation(), views=2, seed=3, folder=folder))
    (path,) = folder.glob("*/output.npy")
    values = np.load(path, mmap_mode="r+")
    values[70:] = 0
    values.flush()
    computed.clear()
    again = features.extract(model, images, augmentation(), views=2, seed=3, folder=folder)
    np.testing.assert_array_equal(again, whole)
    assert computed == [2, 3, 4]


def test_head_on_kept_features_joined_with_the_network_predicts_the_same(images, folder):
    frozen = network()
    pooled = keras.Sequential([frozen, keras.layers.GlobalAveragePooling2D()])
    kept = features.extract(pooled, images, folder=folder)
    head = keras.Sequential([keras.Input(kept.shape[1:]), keras.layers.Dense(2, activation="softmax")])
    head.compile("adam", "sparse_categorical_crossentropy")
    head.fit(kept, images.labels, epochs=1, verbose=0)  # plain fit takes the memory map
    whole = keras.Sequential([pooled, head])
    np.testing.assert_allclose(expected(whole, images), head.predict(kept, verbose=0), atol=1e-5)


def two_equal_models():
    """A frozen lower part and a trainable upper part, whole, and the same again in two parts."""
    made = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        inputs = keras.Input((SIZE, SIZE, 3))
        x = keras.layers.Conv2D(4, 3, strides=2, trainable=False)(keras.layers.Rescaling(1 / 255)(inputs))
        scale = keras.initializers.Constant(1.3)
        normalised = keras.layers.BatchNormalization(trainable=False, gamma_initializer=scale)
        boundary = keras.layers.ReLU()(normalised(x))
        x = keras.layers.Conv2D(4, 2, activation="relu")(boundary)
        outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.Dropout(0.2)(keras.layers.Flatten()(x)))
        made.append((keras.Model(inputs, boundary), keras.Model(boundary, outputs), keras.Model(inputs, outputs)))
    return made


def test_training_the_upper_part_on_kept_activations_gives_the_weights_of_training_the_whole(images, folder):
    (_, _, whole), (lower, upper, joined) = two_equal_models()
    keras.utils.set_random_seed(7)
    whole.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    whole.fit(data.pipeline(images, SIZE, 16, shuffle_seed=1), epochs=3, shuffle=False, verbose=0)
    kept = features.extract(lower, images, exact=True, folder=folder)
    keras.utils.set_random_seed(7)
    upper.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    for (pixels, _), start in zip(data.pipeline(images, SIZE), range(0, 70, 32), strict=True):
        np.testing.assert_array_equal(kept[start : start + 32], lower(pixels, training=False))
    before = joined.get_weights()
    upper.fit(features.batches(kept, images.labels, 16, shuffle_seed=1), epochs=3, shuffle=False, verbose=0)
    for a, b in zip(whole.get_weights(), joined.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-6)  # float32, three epochs of rounding
    moved = [not np.array_equal(a, b) for a, b in zip(before, joined.get_weights(), strict=True)]
    assert moved == [False] * 6 + [True] * 4  # convolution and BatchNorm below, convolution and dense above


def test_batches_hold_each_example_once_with_its_label_in_a_new_order_each_epoch(images, folder):
    model = network()
    kept = features.extract(model, images, folder=folder)
    numbered = np.arange(70)
    shuffled = features.batches(kept, numbered, 32, shuffle_seed=4)
    orders = []
    for _ in range(2):
        read, labels = zip(*shuffled.as_numpy_iterator(), strict=True)
        orders.append(np.concatenate(labels))
        np.testing.assert_array_equal(np.concatenate(read), kept[orders[-1]])
        assert sorted(orders[-1]) == numbered.tolist()
        assert [len(labels) for labels in labels] == [32, 32, 6]
    assert orders[0].tolist() != orders[1].tolist()
    in_order = np.concatenate([labels for _, labels in features.batches(kept, numbered).as_numpy_iterator()])
    assert in_order.tolist() == numbered.tolist()


def test_batches_of_other_labels_are_refused(images, folder):
    kept = features.extract(network(), images, folder=folder)
    with pytest.raises(ValueError, match="70 features and 69 labels"):
        features.batches(kept, images.labels[1:])


def test_full_disk_is_said_before_anything_is_computed(images, folder, computed, monkeypatch):
    monkeypatch.setattr(features.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(ValueError, match=r"need 0\.0 GB in .*make room"):
        features.extract(network(), images, folder=folder)
    assert computed == []


@pytest.mark.parametrize(("views", "layer"), [(0, "flip"), (2, None)])
def test_views_that_cannot_be_are_refused(images, folder, views, layer):
    with pytest.raises(ValueError, match=f"views={views}"):
        features.extract(network(), images, layer and keras.layers.RandomFlip(), views=views, folder=folder)


def test_no_images_and_no_image_input_are_refused(images, folder):
    with pytest.raises(ValueError, match="no images"):
        features.extract(network(), images.select(np.arange(0)), folder=folder)
    with pytest.raises(ValueError, match=r"\(None, 3\)"):
        features.extract(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]), images, folder=folder)


def test_weights_of_a_saved_model_inside_the_network_decide_too(images, folder, computed, tmp_path):
    for seed in (0, 1):  # another model at the same address
        handle = hub.export(network(seed), "a", tmp_path)
        model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Rescaling(1 / 255), hub.HubLayer(handle)])
        kept = features.extract(model, images, folder=folder)
    assert computed == [0, 1, 2] * 2
    np.testing.assert_allclose(kept, expected(network(seed=1), images).mean(axis=(1, 2)), rtol=1e-4)  # float32


def test_network_is_merged_once_for_several_sets_and_anew_when_a_weight_has_changed(images, folder, monkeypatch):
    made, convert = [], features.convert_variables_to_constants_v2
    monkeypatch.setattr(features, "convert_variables_to_constants_v2", lambda f: made.append(f) or convert(f))
    monkeypatch.setattr(features, "_last_merged", {})
    model = network()
    for rows in (np.arange(40), np.arange(40, 70)):
        chosen = images.select(rows)
        kept = features.extract(model, chosen, folder=folder)
        np.testing.assert_allclose(kept, expected(model, chosen), rtol=1e-5, atol=1e-6)
    assert len(made) == 1
    model.set_weights([1.5 * weight for weight in model.get_weights()])
    kept = features.extract(model, images, folder=folder)
    np.testing.assert_allclose(kept, expected(model, images), rtol=1e-5, atol=1e-6)
    assert len(made) == 2
    assert len(features._last_merged) == 1


# A folder that outlives the machine


@pytest.fixture
def lasting(monkeypatch, tmp_path):
    (tmp_path / "lasting").mkdir()
    monkeypatch.setenv("COURSE_KEEP", str(tmp_path / "lasting"))
    monkeypatch.setattr(config, "CACHE", tmp_path / "cache")
    return tmp_path / "lasting" / "features"


def test_features_of_a_machine_that_is_gone_are_taken_from_where_they_last(images, computed, lasting):
    first = np.array(features.extract(network(), images))
    shutil.rmtree(config.CACHE)
    computed.clear()
    again = features.extract(network(), images)
    assert computed == []
    np.testing.assert_array_equal(again, first)
    assert config.CACHE / "features" in again.filename.parents  # read from the local disk


def test_features_that_were_there_before_are_copied_too(images, computed, lasting, monkeypatch):
    monkeypatch.delenv("COURSE_KEEP")
    features.extract(network(), images)
    computed.clear()
    monkeypatch.setenv("COURSE_KEEP", str(lasting.parent))
    features.extract(network(), images)
    assert computed == []
    (kept,) = lasting.iterdir()
    assert {path.name for path in kept.iterdir()} == {"output.npy", "chunks.json"}


def test_damaged_lasting_features_are_computed_again_and_replaced(images, computed, lasting):
    features.extract(network(), images)
    (kept,) = lasting.iterdir()
    good = (kept / "output.npy").read_bytes()
    (kept / "output.npy").write_bytes(good[:-4] + b"\x00\x00\x80\x3f")
    shutil.rmtree(config.CACHE)
    computed.clear()
    features.extract(network(), images)
    assert computed == [2]
    assert (kept / "output.npy").read_bytes() == good


def test_features_in_a_folder_of_ones_own_are_not_copied(images, folder, lasting):
    features.extract(network(), images, folder=folder)
    assert not lasting.exists()
