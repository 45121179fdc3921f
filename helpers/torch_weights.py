"""Reader of PyTorch's weights files of the format before PyTorch 1.6, without PyTorch, which runs nothing."""

import collections
import hashlib
import io
import math
import pickle
from pathlib import Path

import numpy as np

_MAGIC_NUMBER, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_STORAGE_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class _TensorUnpickler(pickle.Unpickler):
    """Unpickles nested tuples of plain values, ordered dictionaries and tensor descriptions; nothing else."""

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _describe_tensor
        if module == "torch" and name in _STORAGE_DTYPES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a weights file")

    def persistent_load(self, persistent_id):
        return persistent_id


def _describe_tensor(storage, offset, shape, strides, *_unused):
    return storage, offset, shape, strides


def read(path: Path, sha256: str, remedy: str = "get it again") -> dict[str, np.ndarray]:
    """Read a state dictionary.

    The file holds four pickles (magic number, protocol, system, state dictionary), the list of storage keys,
    and for each storage an int64 count and its raw values. The unpickler can construct tensors only.

    Args:
        path: The ``.pth`` file.
        sha256: The SHA-256 the file must have, in hexadecimal.
        remedy: What to do if the file is missing or is another one, for the message of the error.

    Returns:
        Parameter name to array (float32 or int64).

    Raises:
        ValueError: if the file is missing, its hash differs, or it is not of this format.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing: {remedy}.")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(f"{path.name} has sha256 {found[:16]}…, expected {sha256[:16]}…: {remedy}.")
    file = io.BytesIO(content)

    def values(dtype: np.dtype, count: int) -> np.ndarray:
        found = np.frombuffer(content, dtype, count, file.tell())
        file.seek(found.nbytes, io.SEEK_CUR)
        return found

    try:
        magic, protocol, _, described, keys = (_TensorUnpickler(file).load() for _ in range(5))
    except (pickle.UnpicklingError, EOFError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{path.name} is not a weights file that can be read safely ({error}).") from error
    if (magic, protocol) != (_MAGIC_NUMBER, _PROTOCOL):
        raise ValueError(f"{path.name} is not in PyTorch's legacy weights format.")
    try:
        dtypes = {storage[2]: _STORAGE_DTYPES[storage[1]] for storage, *_ in described.values()}
        storages = {key: values(dtypes[key], values("<i8", 1)[0]) for key in keys}
    except (AttributeError, TypeError, LookupError, ValueError) as error:
        raise ValueError(f"{path.name} is not a whole weights file ({error}): {remedy}.") from error
    if missing := sorted(set(dtypes) - set(storages)):
        raise ValueError(f"{path.name} is not a whole weights file: it lacks the values {missing[0]!r}.")
    return {name: _rebuild(storages[storage[2]], *view) for name, (storage, *view) in described.items()}


def _rebuild(storage: np.ndarray, offset: int, shape: tuple, strides: tuple) -> np.ndarray:
    """A copy of the strided view that PyTorch describes, refused where it would leave the storage."""
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if min((offset, *strides)) < 0 or (math.prod(shape) and last >= storage.size):
        raise ValueError(f"A tensor of shape {shape} does not lie inside its storage of {storage.size} values.")
    steps = [step * storage.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps).copy()
