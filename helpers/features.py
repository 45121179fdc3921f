"""Run a frozen network once over a data set, keep what it says on disk, and train on that.

A frozen network says the same of an image in every epoch, so one pass is enough. Introduced in lesson 02; lesson 04
keeps the activations below the layers that it fine-tunes.
"""

import hashlib
import inspect
import json
import os
import shutil
import sys
import zlib
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tqdm import tqdm

from helpers import config, data, session

CHUNK = 32  # images that are computed, checked and, after an interruption, lost together
_SECONDS_WITHOUT_BAR = 10
_last_merged: dict = {}  # fingerprint of a network -> the function made of it; one at most
_REFERENCES = ("keras_history", "input_layers", "output_layers")  # where a configuration names other layers


def extract(
    network: keras.Model,
    images: data.Images,
    augmentation: keras.Layer | None = None,
    views: int = 1,
    seed: int = 0,
    exact: bool = False,
    folder: Path | None = None,
) -> np.ndarray | dict[str, np.ndarray]:
    """Return what a network says of each image, computed once and kept on disk.

    The folder that keeps it is named after all that decides the result: the network's layers, weights and precision,
    the files' content and order, how they are read, augmentation, views and seed, the versions of Keras and TensorFlow.
    A change of any of them computes anew. Each chunk of images is kept with its checksum: an interrupted pass goes on
    where it stopped, and a chunk that is damaged or was never written is computed again. Where ``COURSE_KEEP`` names a
    folder, finished passes are copied there, and taken from there on a machine that does not have them.

    Args:
        network: A model from raw RGB, ``(batch, size, size, 3)``, to one tensor or a dictionary of tensors.
        images: The files.
        augmentation: A layer that changes images at random, such as ``keras.layers.RandomFlip``.
        views: Augmented versions of each image, each drawn once.
        seed: Of that draw.
        exact: Compute what ``fit`` would, on a CPU to the last bit, so that training above goes as it would go on
            pixels. Otherwise BatchNorm is merged into the convolutions: faster, in float32 other in the sixth digit.
        folder: Where results are kept; by default ``build/cache/features``.

    Returns:
        The network's output, ``(views * n, ...)``, in the files' order, one whole view after the other: its labels are
        ``np.tile(images.labels, views)``. Read-only and memory-mapped: the disk is read where it is used.

    Raises:
        ValueError: if the network does not take square images, several views are asked for without augmentation,
            there are no images, or the disk has no room.
    """
    shape = getattr(network, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[1] is None or shape[1] != shape[2]:
        raise ValueError(f"The network's input is {shape}: it must take images, (batch, size, size, 3).")
    if views < 1 or (views > 1 and augmentation is None):
        raise ValueError(f"views={views}: give 1 or more, and more than 1 only with an augmentation.")
    if not len(images):
        raise ValueError("There are no images to compute features of: the list of files is empty.")
    all_views = images.select(np.tile(np.arange(len(images)), views))
    key = _key(network, images, shape[1], augmentation, views, seed, exact)
    outputs, is_dictionary = _outputs(network)
    here = (folder or config.CACHE / "features") / key
    if folder is None:
        session.fetch_kept(here, "features")
    kept = _Kept(here, outputs, len(all_views))
    if missing := kept.missing_chunks():
        kept.refuse_without_room(missing)
        rows = np.concatenate([np.arange(len(all_views))[kept.rows(chunk)] for chunk in missing])
        pixels_of = data.pipeline(all_views.select(rows), shape[1], CHUNK)
        compute = tf.function(lambda pixels: network(pixels, training=False)) if exact else _merged(network)
        bar = tqdm(
            zip(missing, pixels_of, strict=True), desc="features", unit_scale=CHUNK, unit=" images",
            total=len(missing), delay=_SECONDS_WITHOUT_BAR, leave=False, file=sys.stdout,
        )  # fmt: skip
        for chunk, (pixels, _) in bar:
            if augmentation is not None:
                _reseed(augmentation, seed, chunk)
                pixels = tf.cast(augmentation(pixels, training=True), tf.float32)  # float16 where layers compute in it
            kept.write(chunk, compute(pixels))
    if folder is None:
        session.keep(here, "features", renew=bool(missing))
    return kept.arrays if is_dictionary else kept.arrays["output"]


def batches(
    features: np.ndarray, labels: np.ndarray, batch_size: int = 32, shuffle_seed: int | None = None
) -> tf.data.Dataset:
    """Batches of kept features for ``fit``, read from the disk one by one.

    ``fit`` copies an array that it is given into memory, whole. Use this where activations are larger than that.

    Args:
        features: What ``extract`` returned for one output, ``(n, ...)``.
        labels: Their labels, ``(n,)``.
        batch_size: Examples in a batch; the last one may be smaller.
        shuffle_seed: Give a seed for a new order each epoch: the same orders as ``data.pipeline`` with that seed.

    Raises:
        ValueError: if features and labels differ in number.
    """
    if len(features) != len(labels):
        raise ValueError(f"{len(features)} features and {len(labels)} labels: for several views, tile the labels.")
    rows = tf.data.Dataset.range(len(features))
    if shuffle_seed is not None:
        rows = rows.shuffle(len(features), seed=shuffle_seed)
    dtype = tf.as_dtype(features.dtype)

    def read(index):
        kept = tf.numpy_function(lambda i: np.ascontiguousarray(features[i]), [index], dtype, stateful=False)
        kept.set_shape((None, *features.shape[1:]))
        return kept, tf.gather(tf.constant(labels), index)

    return rows.batch(batch_size).map(read, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _merged(network: keras.Model):
    """A network as a function whose weights are constants: TensorFlow then merges each BatchNorm into a convolution.

    Making it takes seconds, so the last one is remembered: usually the next split's images go through it too.
    """
    fingerprint = _fingerprint(network)
    if fingerprint not in _last_merged:
        images = tf.TensorSpec(network.input_shape, tf.float32)
        traced = tf.function(lambda pixels: network(pixels, training=False)).get_concrete_function(images)
        constant = convert_variables_to_constants_v2(traced)
        _last_merged.clear()
        _last_merged[fingerprint] = lambda pixels: tf.nest.pack_sequence_as(traced.structured_outputs, constant(pixels))
    return _last_merged[fingerprint]


class _Kept:
    """Arrays in a folder, one file an output, and the checksum of each chunk that has been written."""

    def __init__(self, folder: Path, outputs: dict[str, tuple[tuple[int, ...], np.dtype]], length: int):
        self.length = length
        self._folder, self._written = folder, folder / "chunks.json"
        folder.mkdir(parents=True, exist_ok=True)
        self.arrays, self._writable = {}, {}
        for name, (shape, dtype) in outputs.items():
            path, whole = folder / f"{name}.npy", (length, *shape)
            if not _holds(path, whole, dtype):
                np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=whole).flush()
            self._writable[name] = np.load(path, mmap_mode="r+")
            self.arrays[name] = np.load(path, mmap_mode="r")
        self._checksums = self._read_checksums()

    def rows(self, chunk: int) -> slice:
        """Where a chunk stands in the arrays."""
        return slice(chunk * CHUNK, min((chunk + 1) * CHUNK, self.length))

    def missing_chunks(self) -> list[int]:
        """Numbers of the chunks whose content does not have the checksum that was noted, if any was."""
        total, noted = -(-self.length // CHUNK), self._checksums
        return [n for n in range(total) if str(n) not in noted or noted[str(n)] != self._checksum(n)]

    def refuse_without_room(self, chunks: list[int]) -> None:
        """Raise ValueError if the disk cannot hold these chunks: a full one would kill a process that maps files."""
        needed = sum(array[self.rows(chunk)].nbytes for chunk in chunks for array in self.arrays.values())
        if shutil.disk_usage(self._folder).free < 1.05 * needed:
            raise ValueError(
                f"The features need {needed / 1e9:.1f} GB in {self._folder.parent}: make room, or take fewer images "
                "or a smaller image size."
            )

    def write(self, chunk: int, values) -> None:
        """Write a chunk, then note its checksum: a process that ends in between loses this chunk alone."""
        named = values if isinstance(values, dict) else {"output": values}
        for name, value in named.items():
            self._writable[name][self.rows(chunk)] = keras.ops.convert_to_numpy(value)
        self._checksums[str(chunk)] = self._checksum(chunk)
        temporary = self._folder / f".chunks.{os.getpid()}.tmp"
        temporary.write_text(json.dumps(self._checksums))
        os.replace(temporary, self._written)

    def _checksum(self, chunk: int) -> int:
        checksum = 0
        for name in sorted(self.arrays):
            checksum = zlib.crc32(np.ascontiguousarray(self.arrays[name][self.rows(chunk)]), checksum)
        return checksum

    def _read_checksums(self) -> dict[str, int]:
        try:
            read = json.loads(self._written.read_text())
        except (OSError, ValueError):
            return {}
        return read if isinstance(read, dict) else {}


def _holds(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether a file is an array of this shape and type, whole."""
    try:
        found = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return isinstance(found, np.memmap) and found.shape == shape and found.dtype == dtype


def _outputs(network: keras.Model) -> tuple[dict[str, tuple[tuple[int, ...], np.dtype]], bool]:
    """Name to shape, without the batch, and type of each of a network's outputs; whether they are a dictionary."""
    said = network.compute_output_spec(keras.KerasTensor(network.input_shape))
    named = said if isinstance(said, dict) else {"output": said}
    shapes = {name: (tuple(tensor.shape[1:]), np.dtype(tensor.dtype)) for name, tensor in named.items()}
    return shapes, isinstance(said, dict)


def _reseed(augmentation: keras.Layer, seed: int, chunk: int) -> None:
    """Set all random states in a layer, so that a chunk is drawn alike whether or not others were drawn before."""
    states = [variable for variable in augmentation.variables if "seed_generator_state" in variable.path]
    for number, state in enumerate(states):
        state.assign(np.random.SeedSequence([seed, chunk, number]).generate_state(2))


def _key(network, images, image_size, augmentation, views, seed, exact) -> str:
    """A name for all that decides the features; equal for networks whose layers differ in their names alone."""
    numbers = [image_size, views, seed if augmentation is not None else None, exact, CHUNK]
    numbers += [keras.__version__, tf.__version__]
    digest = hashlib.sha256(json.dumps(numbers).encode())
    for part in [network] if augmentation is None else [network, augmentation]:
        digest.update(_fingerprint(part))
    for module in (data, sys.modules[__name__]):  # how files are read, and features computed
        digest.update(Path(module.__file__).read_bytes())
    for path in images.paths:
        digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    first, _ = next(iter(data.pipeline(images.select(np.arange(1)), image_size)))  # as it is decoded and resized here
    digest.update(first.numpy())
    return digest.hexdigest()[:32]


def _fingerprint(part: keras.Layer) -> bytes:
    """A digest of what a network or a layer computes: its configuration, code of one's own, and weights."""
    described = [type(part).__name__, _without_names(part.get_config(), {})]
    digest = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode())
    for layer in _all_layers(part):
        if not type(layer).__module__.startswith("keras."):  # a layer of one's own: its code decides too
            digest.update(_source(type(layer)))
        hidden = [*layer.module.variables] if hasattr(layer, "module") else []  # a SavedModel's: Keras lists none
        for weight in [*layer.weights, *hidden]:
            value = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
            digest.update(f"{value.shape} {value.dtype}".encode())
            digest.update(value)
        graph = Path(str(getattr(layer, "handle", "")), "saved_model.pb")
        digest.update(graph.read_bytes() if graph.is_file() else b"")
    return digest.digest()


def _all_layers(layer: keras.Layer) -> list[keras.Layer]:
    """The innermost layers of a layer or a model, in order."""
    inside = getattr(layer, "layers", None)
    return [innermost for each in inside for innermost in _all_layers(each)] if inside else [layer]


def _source(code: type) -> bytes:
    try:
        return inspect.getsource(code).encode()
    except (OSError, TypeError):  # typed into a prompt: nothing to read
        return b""


def _without_names(part, numbers: dict[str, int], is_reference: bool = False):
    """A layer's configuration, with numbers for layers' names and without what matters in training only."""
    if isinstance(part, dict):
        plain = {}
        for name, value in part.items():
            if name == "dtype":
                plain[name] = value  # a policy has a name too, and this one matters
            elif name == "name" and isinstance(value, str):
                plain[name] = numbers.setdefault(value, len(numbers))
            elif name != "trainable":
                plain[name] = _without_names(value, numbers, is_reference or name in _REFERENCES)
        return plain
    if isinstance(part, (list, tuple)):
        return [_without_names(value, numbers, is_reference) for value in part]
    if is_reference and isinstance(part, str):
        return numbers.setdefault(part, len(numbers))
    return part
