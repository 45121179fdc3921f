"""From a lesson's settings to train, validation and test pipelines of raw RGB images.

Images are found and checked first, as lists of files; pixels are read batch by batch while a model runs.
Introduced in lesson 02.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from helpers import config, downloads

SPLITS = ("train", "validation", "test")
DRAWN_FRACTION = 0.2  # of the training images, for a split that the data set does not have
MOST_KEPT_BYTES = 256 * 2**20  # of pixels that a pipeline keeps in memory between epochs
IMAGE_ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".gif"}


@dataclasses.dataclass(frozen=True)
class Images:
    """The images of one split.

    Attributes:
        paths: Files, ``(n,)`` strings.
        labels: Index of each file's class in ``class_names``, ``(n,)`` int64.
        class_names: Names of the classes, sorted.
    """

    paths: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, index: np.ndarray) -> "Images":
        """The images at the given positions, in that order."""
        return Images(self.paths[index], self.labels[index], self.class_names)

    def shuffled_by_class(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Positions of each class's images, shuffled, in the order of the classes."""
        return [rng.permutation(np.flatnonzero(self.labels == c)) for c in range(len(self.class_names))]

    def draw(self, per_class: int, seed: int) -> np.ndarray:
        """Positions of ``per_class`` images of each class, drawn without replacement and shuffled.

        The same seed draws nested sets: the 5 of a class are among its 10.

        Raises:
            ValueError: if a class has fewer images.
        """
        rng = np.random.default_rng(seed)
        orders = self.shuffled_by_class(rng)
        smallest = min(len(order) for order in orders)
        if not 1 <= per_class <= smallest:
            raise ValueError(f"{per_class} images a class were asked for: choose between 1 and {smallest}.")
        return rng.permutation(np.concatenate([order[:per_class] for order in orders]))


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The three splits of a data set, and the files that were left out because they do not decode."""

    train: Images
    validation: Images
    test: Images
    skipped: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""
        return self.train.class_names

    def counts(self) -> pd.DataFrame:
        """Number of images by class (rows) and split (columns), with totals."""
        table = pd.DataFrame(
            {split: np.bincount(getattr(self, split).labels, minlength=len(self.class_names)) for split in SPLITS},
            index=list(self.class_names),
        )
        table.loc["total"] = table.sum()
        return table


def folder_of(settings: config.Settings) -> Path:
    """Return the folder of the lesson's data set: the embedded sample, ``COURSE_DATA``'s, or the download.

    Raises:
        ValueError: if ``COURSE_DATA`` does not hold the set, or it cannot be downloaded.
    """
    if settings.run == "sample":
        return config.SAMPLES / settings.dataset
    if (given := config.data_folder()) is None:
        return downloads.fetch(settings.dataset)
    if not (given / settings.dataset / "train").is_dir():
        raise ValueError(f"COURSE_DATA holds no folder {settings.dataset}/train: looked in {given}.")
    return given / settings.dataset


def load(settings: config.Settings, seed: int = 0) -> Dataset:
    """Find the lesson's images, check that each decodes, and split them.

    A split that the data set lacks (often validation) is drawn from ``train``, class by class. Then ``per_class`` of
    the settings is applied, class by class too, so that a balanced set stays balanced.

    Args:
        settings: The lesson's numbers.
        seed: Of that draw; the same seed gives the same split.

    Raises:
        ValueError: if a folder or a class folder is missing, or a class has no image.
    """
    folder = folder_of(settings)
    class_names = None if settings.run == "sample" else downloads.describe(settings.dataset).get("classes")
    return find_images(folder, class_names, seed, settings.per_class)


def find_images(
    folder: Path, class_names: list[str] | None = None, seed: int = 0, per_class: Mapping[str, int] | None = None
) -> Dataset:
    """As ``load``, for a folder with ``train/`` and perhaps ``validation/`` and ``test/``, one folder a class.

    Args:
        folder: The data set's folder.
        class_names: The classes it must have; by default those of ``train``.
        seed: Of the draw of missing splits, and of the images that ``per_class`` leaves.
        per_class: Split to the most images of a class that are kept of it, drawn at random; all by default.
    """
    expected = tuple(sorted(class_names or _class_folders(folder / "train")))
    found, skipped = {}, []
    for split in (s for s in SPLITS if (folder / s).is_dir()):
        present = _class_folders(folder / split)
        if missing := sorted(set(expected) - set(present)):
            raise ValueError(
                f"{folder / split} lacks the class folder {missing[0]!r}: it must hold {_listed(expected)}."
            )
        if extra := sorted(set(present) - set(expected)):
            raise ValueError(f"{folder / split} holds {extra[0]!r}, which is no class of this set: move it away.")
        found[split], undecodable = _decodable(_list_files(folder / split, expected))
        skipped += [str(Path(path).relative_to(folder)) for path in undecodable]
    if skipped:
        total = len(skipped) + sum(map(len, found.values()))
        print(f"Left out {len(skipped)} of {total} images that do not decode: {_listed(skipped)}.")
    for split in ("test", "validation"):
        if split not in found:
            found["train"], found[split] = _split(found["train"], DRAWN_FRACTION, seed)
    for split, most in (per_class or {}).items():
        if split not in SPLITS or most < 1:
            raise ValueError(
                f"{split}={most} is no limit: name one of {', '.join(SPLITS)}, and 1 image a class or more."
            )
        found[split] = _at_most(found[split], most, seed)
    for split, images in found.items():
        for label, name in enumerate(expected):
            if not np.any(images.labels == label):
                raise ValueError(f"{folder} has no image of {name!r} for {split}: add some, or remove the class.")
    return Dataset(**found, skipped=tuple(skipped))


def in_two_splits(dataset: Dataset) -> list[tuple[str, str]]:
    """Pairs of files in different splits with the same content, byte by byte: an honest data set has none."""
    first: dict[str, tuple[str, str]] = {}  # hash of the content -> split and file
    pairs = []
    for split in SPLITS:
        for path in getattr(dataset, split).paths:
            content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            seen_in, seen = first.setdefault(content, (split, str(path)))
            if seen_in != split:
                pairs.append((seen, str(path)))
    return pairs


def pipeline(images: Images, image_size: int, batch_size: int = 32, shuffle_seed: int | None = None):
    """Read, decode and resize images batch by batch, in parallel with the model.

    A JPEG of at least twice the size is scaled down by 2, 4 or 8 while it is decoded, which costs less and averages
    pixels where resizing would skip them. Pixels stay bytes up to the batch. A small set is read once, before its
    first batch if it is shuffled, and its bytes stay in memory. Of a larger one (``MOST_KEPT_BYTES``) only a few
    batches are there at a time.

    Args:
        images: The files and their labels.
        image_size: Height and width of the result in pixels; the aspect ratio is not kept.
        batch_size: Images in a batch; the last one may be smaller.
        shuffle_seed: Give a seed to shuffle the files anew each epoch; by default they keep their order.

    Returns:
        A ``tf.data.Dataset`` of ``(pixels, label)``: float32 RGB in [0, 255], whole numbers,
        ``(batch, image_size, image_size, 3)``, and int64 ``(batch,)``.
    """

    def read(path, label):
        resized = tf.image.resize(_decoded(tf.io.read_file(path), image_size), (image_size, image_size))
        return tf.cast(tf.round(resized), tf.uint8), label

    def shuffled(items):
        return items if shuffle_seed is None else items.shuffle(len(images), seed=shuffle_seed)

    items = tf.data.Dataset.from_tensor_slices((images.paths, images.labels))
    if len(images) * 3 * image_size**2 <= MOST_KEPT_BYTES:
        items = shuffled(items.map(read, num_parallel_calls=tf.data.AUTOTUNE).cache())
    else:
        items = shuffled(items).map(read, num_parallel_calls=tf.data.AUTOTUNE)  # the names are shuffled, not the pixels
    batches = items.batch(batch_size).map(lambda pixels, label: (tf.cast(pixels, tf.float32), label))
    return batches.prefetch(tf.data.AUTOTUNE)


def _decoded(content: tf.Tensor, image_size: int) -> tf.Tensor:
    """An image file's content as RGB bytes, ``(height, width, 3)``: a JPEG by the decoder's own down-scaling."""

    def jpeg():
        times = tf.reduce_min(tf.image.extract_jpeg_shape(content)[:2]) // image_size
        choices = [lambda ratio=ratio: tf.io.decode_jpeg(content, channels=3, ratio=ratio) for ratio in (1, 2, 4, 8)]
        return tf.switch_case(sum(tf.cast(times >= ratio, tf.int32) for ratio in (2, 4, 8)), choices)

    def other():
        return tf.io.decode_image(content, channels=3, expand_animations=False)

    return tf.ensure_shape(tf.cond(tf.io.is_jpeg(content), jpeg, other), (None, None, 3))


def _class_folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise ValueError(f"{folder} is missing: a data set has train/ with one folder a class.")
    return sorted(f.name for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))


def _list_files(folder: Path, class_names: tuple[str, ...]) -> Images:
    paths, labels = [], []
    for label, name in enumerate(class_names):
        files = sorted(str(f) for f in (folder / name).iterdir() if f.suffix.lower() in IMAGE_ENDINGS)
        paths += files
        labels += [label] * len(files)
    return Images(np.array(paths, dtype=str), np.array(labels, dtype=np.int64), class_names)


def _decodable(images: Images) -> tuple[Images, list[str]]:
    """Keep the images that TensorFlow decodes; return them and the paths of the others."""
    if not len(images):
        return images, []

    @tf.py_function(Tout=tf.bool)
    def decodes(path):
        try:
            tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError):
            return False
        return True

    checks = tf.data.Dataset.from_tensor_slices(images.paths).map(decodes, num_parallel_calls=tf.data.AUTOTUNE)
    good = np.fromiter(checks.as_numpy_iterator(), dtype=bool)
    return images.select(np.flatnonzero(good)), images.paths[~good].tolist()


def _split(images: Images, fraction: float, seed: int) -> tuple[Images, Images]:
    """Draw ``fraction`` of each class, at least one image, out of ``images``: what is left, and what was drawn."""
    drawn = np.zeros(len(images), dtype=bool)
    for order in images.shuffled_by_class(np.random.default_rng(seed)):
        drawn[order[: max(1, round(fraction * len(order)))]] = True
    return images.select(np.flatnonzero(~drawn)), images.select(np.flatnonzero(drawn))


def _at_most(images: Images, most: int, seed: int) -> Images:
    """Draw ``most`` images of each class, all of a class that has fewer; they keep their order."""
    orders = images.shuffled_by_class(np.random.default_rng(seed))
    return images.select(np.sort(np.concatenate([order[:most] for order in orders])))


def _listed(names, most: int = 12) -> str:
    shown = ", ".join(list(names)[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
