import collections
import hashlib
import io
import os
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import torch_weights

# --- a writer of PyTorch's format before 1.6, without PyTorch: pickles name these as torch's own


class FloatStorage: ...


class LongStorage: ...


def _rebuild_tensor_v2(*arguments): ...


class Tensor:
    def __init__(self, storage: SimpleNamespace, shape: tuple, strides: tuple, offset: int = 0):
        self.view = (storage, offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self):
        return _rebuild_tensor_v2, self.view


class Writer(pickle.Pickler):
    def persistent_id(self, thing):
        if not isinstance(thing, SimpleNamespace):
            return None
        kind = FloatStorage if thing.values.dtype == np.float32 else LongStorage
        return ("storage", kind, thing.key, "cpu", thing.values.size, None)


def pickled(part: object) -> bytes:
    file = io.BytesIO()
    Writer(file, protocol=2).dump(part)
    here = f"c{__name__}\n".encode()
    return file.getvalue().replace(here + b"_rebuild", b"ctorch._utils\n_rebuild").replace(here, b"ctorch\n")


def torch_bytes(described: object, storages=(), keys=None, magic=0x1950A86A20F9469CFC6C, protocol=1001) -> bytes:
    keys = [storage.key for storage in storages] if keys is None else keys
    parts = [pickled(part) for part in (magic, protocol, {"little_endian": True}, described, keys)]
    return b"".join(parts + [np.int64(s.values.size).tobytes() + s.values.tobytes() for s in storages])


FLOATS = SimpleNamespace(key="0", values=np.arange(24, dtype=np.float32))
LONGS = SimpleNamespace(key="1", values=np.array([7, 8]))


@pytest.fixture
def read(tmp_path):
    """A function that writes bytes to a file and reads it as weights, with the hash it has."""

    def write_and_read(content: bytes) -> dict[str, np.ndarray]:
        path = tmp_path / "weights.pth"
        path.write_bytes(content)
        return torch_weights.read(path, hashlib.sha256(content).hexdigest())

    return write_and_read


def test_weights_are_read_as_they_were_written(read):
    described = {"a": Tensor(FLOATS, (4, 6), (6, 1)), "b": Tensor(LONGS, (2,), (1,)), "c": Tensor(LONGS, (), (), 1)}
    tensors = read(torch_bytes(collections.OrderedDict(described), [FLOATS, LONGS]))
    np.testing.assert_array_equal(tensors["a"], np.arange(24).reshape(4, 6))
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
    assert tensor.flags.owndata  # it can be written to without changing another tensor


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [((25,), (1,), 0), ((3,), (1,), 22), ((4, 6), (7, 1), 0), ((2,), (1,), -1), ((2,), (-1,), 5), ((1,), (1,), 24)],
)
def test_views_out_of_the_storage_are_refused(read, shape, strides, offset):
    with pytest.raises(ValueError, match="does not lie inside its storage of 24 values"):
        read(torch_bytes({"a": Tensor(FLOATS, shape, strides, offset)}, [FLOATS]))


class Command:
    """Unpickled, it calls a function."""

    def __init__(self, *called):
        self.called = called

    def __reduce__(self):
        return self.called[0], self.called[1:]


@pytest.mark.parametrize("place", ["magic number", "protocol", "system", "state", "keys"])
@pytest.mark.parametrize("how", ["os.system", "builtins.eval", "torch.load"])
def test_pickle_that_would_run_a_command_is_refused_and_not_run(read, tmp_path, place, how):
    marker = tmp_path / "was run"
    command = {
        "os.system": pickle.dumps(Command(os.system, f"touch '{marker}'"), protocol=2),
        "builtins.eval": pickle.dumps(Command(eval, f"open({str(marker)!r}, 'w')"), protocol=2),
        "torch.load": b"\x80\x02ctorch\nload\n(X\x01\x00\x00\x00atR.",  # a name in torch that is not a storage
    }
    parts = dict.fromkeys(["magic number", "protocol", "system", "state", "keys"], pickle.dumps({}, protocol=2))
    with pytest.raises(ValueError, match=r"can be read safely \(.* is not allowed"):
        read(b"".join({**parts, place: command[how]}.values()))
    assert not marker.exists()


ONE_TENSOR = {"a": Tensor(FLOATS, (24,), (1,))}


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"",
            b"PK\x03\x04 a zip file",
            b"<html>",
            torch_bytes({})[:40],
            torch_bytes([]),
            torch_bytes({}, magic=1),
            torch_bytes({}, protocol=1002),
        ),
        *(torch_bytes(ONE_TENSOR, [FLOATS])[:-missing] for missing in (1, 96 + 4, 96 + 8)),
        *(torch_bytes(ONE_TENSOR, keys=[]), torch_bytes(ONE_TENSOR, [FLOATS], keys=["other"])),
    ],
    ids=[
        "empty",
        "zip",
        "html",
        "cut",
        "list",
        "magic number",
        "protocol",
        "cut value",
        "cut count",
        "no count",
        "no storage",
        "other storage",
    ],
)
def test_file_that_is_not_whole_or_something_else_is_refused(read, content):
    with pytest.raises(
        ValueError, match=r"weights\.pth is not (a weights|a whole weights|in PyTorch's legacy weights)"
    ):
        read(content)


def test_missing_file_and_file_of_another_hash_are_refused_with_the_remedy(tmp_path):
    path = tmp_path / "weights.pth"
    with pytest.raises(ValueError, match=r"weights\.pth is missing: ask Ada\.$"):
        torch_weights.read(path, "0" * 64, "ask Ada")
    path.write_bytes(torch_bytes({}))
    with pytest.raises(ValueError, match=r"weights\.pth has sha256 .*, expected 0000000000000000…: ask Ada\.$"):
        torch_weights.read(path, "0" * 64, "ask Ada")
