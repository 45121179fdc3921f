import errno
import os
import time
import types
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from helpers import data, features

SIZE = 8


def network(seed: int = 0, size: int = SIZE, scale: float = 1 / 255, activation: str = "relu") -> keras.Model:
    """Raw RGB to (4, 4, 5) activations, with BatchNorm and Dropout, which behave otherwise in training."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((size, size, 3))
    x = keras.layers.Rescaling(scale)(inputs)
    x = keras.layers.Conv2D(5, 3, strides=2, padding="same", activation=activation)(x)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(inputs, keras.layers.Dropout(0.5)(x))


@pytest.fixture(scope="module")
def toy() -> keras.Model:
    return network()


@pytest.fixture(scope="module")
def pixels_out() -> keras.Model:
    return keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Identity()])


@pytest.fixture
def images(tmp_path, rng) -> data.Images:
    """70 images of noise, so three batches."""
    paths = [str(tmp_path / f"{i:02d}.png") for i in range(70)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(path)
    return data.Images(np.array(paths), np.repeat([0, 1], [40, 30]), ("cat", "dog"))


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "features"


def files(folder: Path) -> dict[str, int]:
    """The file that each name stands for: computing a file anew makes another one of the same name."""
    return {path.name: path.stat().st_ino for path in folder.iterdir()}


def expected(model, images, size=SIZE):
    return model.predict(data.pipeline(images, size), verbose=0)


def test_features_are_the_networks_output_in_inference_in_the_order_of_the_files(toy, images, folder):
    kept = features.extract(toy, images, folder=folder)
    assert isinstance(kept, np.memmap)
    assert not kept.flags.writeable
    np.testing.assert_allclose(kept, expected(toy, images), rtol=1e-5, atol=1e-6)  # float32, other batch sizes


def test_splits_are_computed_in_one_go_and_given_apart(toy, images, folder, monkeypatch):
    monkeypatch.setattr(features.config, "CACHE", folder)
    splits = {"train": images.select(np.arange(40)), "validation": images.select([45]), "test": images.select([60, 69])}
    found = features.extract_splits(toy, data.Dataset(**splits))
    assert len(list((folder / "features").iterdir())) == 1
    for split, part in splits.items():
        np.testing.assert_allclose(found[split], expected(toy, part), rtol=1e-5, atol=1e-6)


def test_equal_network_in_another_place_computes_nothing(toy, images, folder, tmp_path):
    first = features.extract(toy, images, folder=folder)
    kept = files(folder)
    (tmp_path / "moved").mkdir()
    paths = [str(Path(path).rename(tmp_path / "moved" / Path(path).name)) for path in images.paths]
    model = network()  # its layers have other names
    model.trainable = False
    again = features.extract(model, data.Images(np.array(paths), images.labels, images.class_names), folder=folder)
    assert files(folder) == kept
    np.testing.assert_array_equal(again, first)


CHANGES = {
    "weights": dict(model=dict(seed=1)),
    "preprocessing": dict(model=dict(scale=1 / 254)),
    "an activation": dict(model=dict(activation="tanh")),
    "image size": dict(model=dict(size=10)),
    "the layer that is read": dict(last=2),
    "augmentation": dict(flip="vertical"),
    "no augmentation": dict(flip=None),
    "copies": dict(copies=2),
    "seed": dict(seed=1),
    "an image beyond those that are compared": dict(edit=True),
    "fewer images": dict(rows=np.arange(40)),
    "order of the images": dict(rows=np.arange(70)[::-1]),
}


def changed(images, folder, model=None, flip="horizontal", copies=1, seed=0, edit=False, rows=None, last=-1):
    if edit:
        Image.new("RGB", (SIZE, SIZE), "white").save(images.paths[33])
    whole = network(**(model or {}))
    part = keras.Model(whole.input, whole.layers[last].output)
    layer = flip and keras.layers.RandomFlip(flip, seed=0)
    chosen = images if rows is None else images.select(rows)
    return features.extract(part, chosen, layer, copies, seed, folder)


@pytest.mark.parametrize("what", CHANGES)
def test_change_of_what_decides_the_features_computes_anew(images, folder, what):
    changed(images, folder)
    changed(images, folder, **CHANGES[what])
    assert len(files(folder)) == 2
    changed(images, folder)
    assert len(files(folder)) == 2


FUNCTION = "def halve(x):\n    return x / {0}\nlayer = keras.layers.Lambda(halve)"
CLASS = "class Halve(keras.layers.Layer):\n    def call(self, x):\n        return x / {0}\nlayer = Halve()"


@pytest.mark.parametrize("code", [FUNCTION, CLASS], ids=["function in a Lambda", "class"])
def test_code_that_was_edited_in_a_notebook_decides_too(images, folder, code):
    for divisor in (2, 3):
        cell = dict(keras=keras, __name__="__main__")
        exec(code.format(divisor), cell)  # as IPython does: there is no file to read the source from
        model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), cell["layer"]])
        kept = features.extract(model, images, folder=folder)
        np.testing.assert_allclose(kept, data.read(images, SIZE) / np.float32(divisor), rtol=1e-6)


def test_precision_decides_too_and_is_kept(images, folder, set_precision):
    kept = []
    for policy in ("float32", "mixed_float16"):
        set_precision(policy)
        kept.append(features.extract(network(), images, keras.layers.RandomFlip(seed=0), folder=folder))
    assert [values.dtype for values in kept] == [np.float32, np.float16]
    np.testing.assert_allclose(kept[1], kept[0], atol=0.02)  # float16 has three digits


def test_another_version_computes_anew(toy, images, folder, monkeypatch):
    features.extract(toy, images, folder=folder)
    for library in (features.keras, features.tf):
        monkeypatch.setattr(library, "__version__", "0.1")
        features.extract(toy, images, folder=folder)
    assert len(files(folder)) == 3


def test_file_that_is_not_whole_is_made_again(toy, images, folder):
    first = np.array(features.extract(toy, images, folder=folder))
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    np.testing.assert_array_equal(features.extract(toy, images, folder=folder), first)
    assert len(files(folder)) == 1


def test_pass_that_fails_leaves_no_file_and_can_be_repeated(toy, images, folder):
    whole = Path(images.paths[51]).read_bytes()
    Path(images.paths[51]).write_bytes(b"no image")
    with pytest.raises(Exception, match="cannot identify image file"):
        features.extract(toy, images, folder=folder)
    assert files(folder) == {}
    Path(images.paths[51]).write_bytes(whole)
    kept = features.extract(toy, images, folder=folder)
    np.testing.assert_allclose(kept, expected(toy, images), rtol=1e-5, atol=1e-6)


# --- augmented copies


def flips(kept, images) -> np.ndarray:
    """Whether each image of each copy is mirrored, ``(copies, n)``."""
    plain = data.read(images, SIZE)
    copies = np.asarray(kept).reshape(-1, *plain.shape)
    same, mirrored = (copies == plain).all(axis=(2, 3, 4)), (copies == plain[:, :, ::-1]).all(axis=(2, 3, 4))
    assert np.all(same ^ mirrored)
    return mirrored


def test_copies_are_drawn_one_by_one_one_whole_copy_after_the_other(pixels_out, images, folder):
    kept = features.extract(pixels_out, images, keras.layers.RandomFlip("horizontal"), copies=6, folder=folder)
    mirrored = flips(kept, images)
    assert mirrored.shape == (6, 70)
    assert 0.35 < mirrored.mean() < 0.65  # 420 draws of one half: 0.5 ± 6 standard deviations of 0.024
    assert len(np.unique(mirrored, axis=0)) == 6
    assert not np.array_equal(mirrored[:, :32], mirrored[:, 32:64])  # another batch, another draw


def test_two_layers_with_the_same_seed_draw_apart(pixels_out, images, folder):
    twice = keras.Sequential([keras.layers.RandomFlip("horizontal", seed=0) for _ in range(2)])
    mirrored = flips(features.extract(pixels_out, images, twice, folder=folder), images)
    assert 0.2 < mirrored.mean() < 0.8  # two equal draws would cancel out


def test_draw_is_decided_by_the_seed_alone(toy, images, tmp_path):
    kept = []
    for number, seed in enumerate((3, 3, 4)):
        augmentation = keras.Sequential([keras.layers.RandomFlip(), keras.layers.RandomRotation(0.2)])
        kept.append(features.extract(toy, images, augmentation, 2, seed, tmp_path / f"features-{number}"))
    np.testing.assert_array_equal(kept[0], kept[1])
    assert not np.allclose(kept[0], kept[2])


# --- training on what was kept


def two_equal_models():
    """A frozen lower part, a trainable upper part, and both joined; and the same again."""
    made = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        inputs = keras.Input((SIZE, SIZE, 3))
        x = keras.layers.Conv2D(4, 3, strides=2, trainable=False)(keras.layers.Rescaling(1 / 255)(inputs))
        boundary = keras.layers.ReLU()(keras.layers.BatchNormalization(trainable=False)(x))
        x = keras.layers.Conv2D(4, 2, activation="relu")(boundary)
        outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.Dropout(0.2)(keras.layers.Flatten()(x)))
        made.append((keras.Model(inputs, boundary), keras.Model(boundary, outputs), keras.Model(inputs, outputs)))
    return made


def test_training_the_upper_part_on_kept_activations_gives_the_weights_of_training_the_whole(images, folder):
    (_, _, whole), (lower, upper, joined) = two_equal_models()
    before = joined.get_weights()
    kept = features.extract(lower, images, folder=folder)
    for model, pixels in [(whole, data.read(images, SIZE).astype("float32")), (upper, kept)]:
        keras.utils.set_random_seed(7)
        model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
        model.fit(pixels, images.labels, 16, epochs=3, verbose=0)
    for a, b in zip(whole.get_weights(), joined.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-6)  # float32, three epochs of rounding
    moved = [not np.array_equal(a, b) for a, b in zip(before, joined.get_weights(), strict=True)]
    assert moved == [False] * 6 + [True] * 4  # convolution and BatchNorm below, convolution and dense above


def test_a_change_that_only_images_of_the_last_class_show_is_noticed(images, folder):
    for path in images.paths[images.labels == 0]:  # the first ones
        Image.new("RGB", (SIZE, SIZE)).save(path)
    kept = []
    for scale in (1.0, 2.0):
        layers = [keras.Input((SIZE, SIZE, 3)), keras.layers.Rescaling(scale)]  # black stays black
        kept.append(features.extract(keras.Sequential(layers), images, folder=folder))
    np.testing.assert_allclose(kept[1], 2 * kept[0])


# --- the disk


def test_what_was_not_used_for_longest_is_removed_beyond_the_most_that_is_kept(toy, images, folder, monkeypatch):
    def extract(n_images):
        features.extract(toy, images.select(np.arange(n_images)), folder=folder)
        return set(files(folder))

    (first,) = extract(20)
    (second,) = extract(21) - {first}
    for age, name in [(300, first), (200, second)]:
        os.utime(folder / name, (time.time() - age,) * 2)
    (folder / "note.txt").write_text("not ours")
    extract(20)  # used again
    monkeypatch.setattr(features, "MOST_BYTES_ON_DISK", 50 * 4 * 4 * 5 * 4)
    (third,) = extract(22) - {first, second, "note.txt"}
    assert set(files(folder)) == {first, third, "note.txt"}
    (largest,) = extract(60) - {first, third, "note.txt"}  # what was asked for stays in any case
    assert set(files(folder)) == {largest, "note.txt"}


def test_kept_features_of_another_owner_are_used(toy, images, folder, monkeypatch):
    first = np.array(features.extract(toy, images, folder=folder))

    def refuse(path):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)
    np.testing.assert_array_equal(features.extract(toy, images, folder=folder), first)


def test_disk_without_room_is_said_before_the_pass(toy, images, folder, monkeypatch):
    monkeypatch.setattr(features.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1000))
    Path(images.paths[51]).write_bytes(b"no image")  # which is not read
    with pytest.raises(ValueError, match=r"need 0\.0 GB in .*features \(the disk has no room\): make room"):
        features.extract(toy, images, folder=folder)


def test_disk_that_fills_up_during_the_pass_gives_a_sentence_and_leaves_no_file(toy, images, folder):
    resource = pytest.importorskip("resource", reason="limits of file sizes are POSIX's")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, limits[1]))
    try:
        with pytest.raises(ValueError, match=r"features \(File too large\): make room, or take fewer images"):
            features.extract(toy, images, folder=folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(folder) == {}


# --- what is refused


def test_network_images_or_copies_that_do_not_fit_are_refused(toy, images, folder):
    for shape in [(3,), (8, 9, 3), (None, None, 3)]:
        inputs = keras.Input(shape)
        with pytest.raises(ValueError, match="it must take images"):
            features.extract(keras.Model(inputs, keras.layers.ReLU()(inputs)), images, folder=folder)
    with pytest.raises(ValueError, match="several has several outputs: extract one at a time"):
        features.extract(keras.Model(toy.input, [toy.output] * 2, name="several"), images, folder=folder)
    with pytest.raises(ValueError, match="There are no images"):
        features.extract(toy, images.select(np.arange(0)), folder=folder)
    for copies, augmentation in [(0, keras.layers.RandomFlip()), (2, None)]:
        with pytest.raises(ValueError, match=f"copies={copies}: give 1 or more, and more than 1 only with an augment"):
            features.extract(toy, images, augmentation, copies, folder=folder)
