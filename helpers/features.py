"""Run a frozen network once over a data set and keep what it returns on disk. Introduced in lesson 02."""

import contextlib
import hashlib
import itertools
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from helpers import config, data

MOST_BYTES_ON_DISK = 10 * 10**9  # beyond them, what has not been used for longest is removed
_BATCH = 32
_COMPARED = 16  # images that tell whether a network still computes the same


def extract(
    network: keras.Model,
    images: data.Images,
    augmentation: keras.Layer | None = None,
    copies: int = 1,
    seed: int = 0,
    folder: Path | None = None,
) -> np.ndarray:
    """Return a network's output for each image, computed once and kept on disk.

    Each call runs the network on the first images. If it returns the same as before, bit for bit, for the same files,
    what was kept is used: a change of a weight, of a layer's code, of a file or of the augmentation computes anew.

    Args:
        network: A model from raw RGB, ``(batch, size, size, 3)``, to one tensor. It runs in inference mode.
        images: The files.
        augmentation: A layer that changes images at random, such as ``keras.layers.RandomFlip``.
        copies: Augmented copies of each image, each drawn once.
        seed: Of that draw.
        folder: Where features are kept; by default ``build/cache/features``.

    Returns:
        The network's output, ``(copies * n, ...)``, in the files' order, one whole copy after the other: its labels
        are ``np.tile(images.labels, copies)``. Read-only and memory-mapped: the disk is read where it is used.

    Raises:
        ValueError: if the network does not fit, copies need an augmentation, or there are no images or no room.
    """
    shape = network.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[1] is None or shape[1] != shape[2]:
        raise ValueError(f"The network's input is {shape}: it must take images, (batch, size, size, 3).")
    if not isinstance(network.output_shape, tuple):
        raise ValueError(f"{network.name} has several outputs: extract one at a time, with a keras.Model for each.")
    if copies < 1 or (copies > 1 and augmentation is None):
        raise ValueError(f"copies={copies}: give 1 or more, and more than 1 only with an augmentation.")
    if not len(images):
        raise ValueError("There are no images to compute features of: the list of files is empty.")

    @tf.function(input_signature=[tf.TensorSpec((None, *shape[1:]), tf.float32)])
    def compute(pixels):
        if augmentation is not None:
            pixels = tf.cast(augmentation(pixels, training=True), tf.float32)  # float16 where layers compute in it
        return pixels, network(pixels, training=False)

    def outputs(chosen: data.Images, copies: int):
        passes = itertools.repeat(data.pipeline(chosen, shape[1], _BATCH), copies)
        for number, (pixels, _) in enumerate(itertools.chain.from_iterable(passes)):
            _reseed(augmentation, seed, number)
            yield [tensor.numpy() for tensor in compute(pixels)]

    compared = np.unique(
        np.linspace(0, len(images) - 1, _COMPARED).astype(int)
    )  # from all over the set: of all classes
    pixels, first = next(outputs(images.select(compared), copies=1))
    drawn = (copies, seed) if augmentation is not None else None
    digest = hashlib.sha256(f"{drawn} {first.shape} {first.dtype} {keras.__version__} {tf.__version__}".encode())
    digest.update(b"".join(hashlib.sha256(Path(path).read_bytes()).digest() for path in images.paths))
    digest.update(pixels.tobytes() + first.tobytes())
    path = (folder or config.CACHE / "features") / f"{digest.hexdigest()[:32]}.features"
    whole = (copies * len(images), *first.shape[1:])
    n_bytes = int(np.prod(whole)) * first.itemsize
    if not path.is_file() or path.stat().st_size != n_bytes:
        total = copies * -(-len(images) // _BATCH)
        bar = tqdm(outputs(images, copies), "features", total, leave=False, file=sys.stdout, delay=5)
        _write(path, n_bytes, (output for _, output in bar))
    with contextlib.suppress(OSError):  # a folder that can only be read is no error
        os.utime(path)
    return np.memmap(path, first.dtype, mode="r", shape=whole)


def extract_splits(network: keras.Model, dataset: data.Dataset) -> dict[str, np.ndarray]:
    """Return a network's output for each image of each split, computed in one go; see ``extract``."""
    together = extract(network, dataset.train + dataset.validation + dataset.test)
    ends = np.cumsum([len(dataset.train), len(dataset.validation)])
    return dict(zip(data.SPLITS, np.split(together, ends), strict=True))


def _reseed(augmentation: keras.Layer | None, seed: int, batch: int) -> None:
    """Set each random state in a layer, so that every batch has a draw of its own and another pass has the same."""
    states = [state for state in getattr(augmentation, "variables", ()) if "seed_generator_state" in state.path]
    for number, state in enumerate(states):
        state.assign(np.random.SeedSequence([seed, batch, number]).generate_state(2))


def _write(path: Path, n_bytes: int, arrays: Iterable[np.ndarray]) -> None:
    """Write arrays one after the other, to a file that is named when it is whole. Then remove the oldest others."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(path.parent).free < n_bytes:
            raise OSError("the disk has no room")
        with unfinished.open("wb") as file:
            for array in arrays:
                file.write(np.ascontiguousarray(array))
        unfinished.replace(path)
    except OSError as error:
        needed = f"The features need {n_bytes / 1e9:.1f} GB in {path.parent} ({error.strerror or error})"
        raise ValueError(f"{needed}: make room, or take fewer images or a smaller image size.") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
    total = 0
    with contextlib.suppress(OSError):  # another process may remove files too
        for file in sorted(path.parent.glob("*.features*"), key=lambda file: file.stat().st_mtime, reverse=True):
            total += file.stat().st_size
            if total > MOST_BYTES_ON_DISK and file != path:
                file.unlink()
