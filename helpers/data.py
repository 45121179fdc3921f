"""From a lesson's settings to train, validation and test images: files, arrays and pipelines of raw RGB.

Images are found and checked first, as lists of files; pixels are read batch by batch while a model runs.
Introduced in lesson 02.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image, ImageOps

from helpers import config, downloads, lessons

SPLITS = ("train", "validation", "test")
_VALIDATION_NAMES = ("validation", "val", "valid")
DRAWN_FRACTION = 0.2  # of the training images, for a split that the data set does not have
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")  # as Pillow names them, whatever the file's ending says
MOST_KEPT_BYTES = 256 * 2**20  # of pixels that a pipeline keeps in memory between epochs


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

    def __add__(self, other: "Images") -> "Images":
        """These images, then the others, which are of the same classes."""
        paths, labels = (np.concatenate([getattr(each, of) for each in (self, other)]) for of in ("paths", "labels"))
        return Images(paths, labels, self.class_names)

    def select(self, index: np.ndarray) -> "Images":
        """The images at the given positions, in that order."""
        return Images(self.paths[index], self.labels[index], self.class_names)

    def shuffled_by_class(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Positions of each class's images, shuffled, in the order of the classes."""
        return [rng.permutation(np.flatnonzero(self.labels == c)) for c in range(len(self.class_names))]

    def draw(self, per_class: int, seed: int) -> "Images":
        """Draw ``per_class`` images of each class without replacement, in a random order.

        The same seed draws nested sets: the 5 per class are among its 10.

        Raises:
            ValueError: if a class has fewer images.
        """
        rng = np.random.default_rng(seed)
        orders = self.shuffled_by_class(rng)
        smallest = min(len(order) for order in orders)
        if not 1 <= per_class <= smallest:
            raise ValueError(f"{per_class} images per class were asked for: choose between 1 and {smallest}.")
        return self.select(rng.permutation(np.concatenate([order[:per_class] for order in orders])))


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The three splits of a data set, and the files that were left out because they do not decode."""

    train: Images
    validation: Images
    test: Images
    skipped: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Numbers of images in each split, and of classes, as the tables of results state them."""
        numbers = " / ".join(str(len(getattr(self, split))) for split in SPLITS)
        return f"{numbers} (training / validation / test), {len(self.class_names)} classes"

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


def folder_of(settings: lessons.Settings) -> Path:
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


def load(settings: lessons.Settings, seed: int = 0) -> Dataset:
    """Find the lesson's images, check that each decodes, and split them; see ``find_images``.

    Args:
        settings: The lesson's numbers.
        seed: Of all draws; the same seed gives the same split.

    Raises:
        ValueError: if a folder or a class folder is missing, or a class has no image.
    """
    folder = folder_of(settings)
    class_names = None if settings.run == "sample" else downloads.describe(settings.dataset).get("classes")
    return find_images(folder, class_names, seed, settings.per_class)


def find_images(
    folder: Path, class_names: list[str] | None = None, seed: int = 0, per_class: Mapping[str, int] | None = None
) -> Dataset:
    """Find the images below ``train/`` and perhaps ``validation/`` (or ``val/``) and ``test/``, one folder per class.

    A split that the data set lacks (often validation) is drawn from ``train``, class by class: a fifth of each class,
    at least one image, for test, and a fifth of what is left for validation. What is not a readable image is named and
    left out. Only images that ``per_class`` keeps are read; it is applied class by class, so that a balanced set stays
    balanced.

    Args:
        folder: The data set's folder.
        class_names: The classes it must have; by default those of ``train``.
        seed: Of the draw of missing splits, and of the images that ``per_class`` keeps.
        per_class: Split to the most images per class that are kept of it, drawn at random; all by default.

    Raises:
        ValueError: if a folder or a class folder is missing or not known, or a class has no image.
    """
    most = dict(per_class or {})
    if wrong := [f"{split}={n}" for split, n in most.items() if split not in SPLITS or n < 1]:
        raise ValueError(f"{wrong[0]} is no limit: name one of {', '.join(SPLITS)}, and 1 image per class or more.")
    folders = _split_folders(folder)
    expected = tuple(sorted(class_names or _class_folders(folders["train"])))
    listed, skipped = {}, []
    for split, place in folders.items():
        listed[split], left_out = _list_files(place, expected)
        skipped += left_out
    if len(listed) < len(SPLITS) and not most:  # draw from what is readable
        listed["train"], left_out = _readable(listed["train"], None, seed)
        skipped += left_out
    for split in ("test", "validation"):
        if split not in listed:
            listed["train"], listed[split] = _split(listed["train"], DRAWN_FRACTION, seed)
    found = {}
    for split, images in listed.items():
        found[split], left_out = _readable(images, most.get(split), seed)
        skipped += left_out
        for label, name in enumerate(expected):
            if not np.any(found[split].labels == label):
                raise ValueError(f"{folder} has no image of {name!r} for {split}: add some, or remove the class.")
    names = [str(Path(path).relative_to(folder)) for path in skipped]
    if names:
        print(
            f"Left out {len(names)} files or folders of {folder.name} that are not readable images: {_listed(names)}."
        )
    return Dataset(**found, skipped=tuple(names))


def duplicates_across_splits(dataset: Dataset) -> list[tuple[str, str]]:
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


def read(images: Images, image_size: int) -> np.ndarray:
    """Read all images at once, for figures and for sets that fit into memory.

    Args:
        images: The files.
        image_size: Height and width of the result in pixels; the aspect ratio is not kept.

    Returns:
        RGB bytes, ``(n, image_size, image_size, 3)`` uint8, the pixels that ``pipeline`` gives.
    """
    with ThreadPool() as pool:
        pixels = pool.map(lambda path: read_file(path, image_size), images.paths)
    return np.stack(pixels) if pixels else np.zeros((0, image_size, image_size, 3), np.uint8)


def read_file(path: str | Path, image_size: int) -> np.ndarray:
    """Read one image, turned as its camera was held.

    A JPEG of at least twice the size is reduced by 2, 4 or 8 while it is decoded, which costs less.

    Args:
        path: A file in one of ``FORMATS``; of an animation the first picture is read.
        image_size: Height and width of the result in pixels; the aspect ratio is not kept.

    Returns:
        RGB bytes, ``(image_size, image_size, 3)`` uint8.

    Raises:
        ValueError: if pixels are 32-bit numbers, which have no fixed range. Pillow raises much else on damaged files.
    """
    with Image.open(path, formats=FORMATS) as image:
        if image.mode in ("I", "F"):
            raise ValueError(f"{path} holds 32-bit numbers of no fixed range: save it with 8 bits.")
        image.draft("RGB", (image_size, image_size))
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I;16"):
            image = image.point(lambda value: value * (1 / 256))
        return np.asarray(image.convert("RGB").resize((image_size, image_size), Image.Resampling.BILINEAR))


def pipeline(images: Images, image_size: int, batch_size: int = 32, shuffle_seed: int | None = None) -> tf.data.Dataset:
    """Read, decode and resize images batch by batch, in parallel with the model.

    Pixels stay bytes up to the batch. A small set is read once, before its first batch if it is shuffled, and its bytes
    stay in memory. Of a larger one (``MOST_KEPT_BYTES``) only a few batches are there at a time.

    Args:
        images: The files and their labels.
        image_size: Height and width of the result in pixels; the aspect ratio is not kept.
        batch_size: Images in a batch; the last one may be smaller.
        shuffle_seed: Give a seed to shuffle the files anew each epoch; by default they keep their order.

    Returns:
        A ``tf.data.Dataset`` of ``(pixels, label)``: float32 RGB in [0, 255], whole numbers,
        ``(batch, image_size, image_size, 3)``, and int64 ``(batch,)``.
    """

    def pixels_and_label(number, label):  # of the image: a path that is no UTF-8 cannot be a tensor
        pixels = tf.numpy_function(lambda i: read_file(images.paths[i], image_size), [number], tf.uint8)
        return tf.ensure_shape(pixels, (image_size, image_size, 3)), label

    def shuffled(items):
        return items if shuffle_seed is None else items.shuffle(len(images), seed=shuffle_seed)

    items = tf.data.Dataset.from_tensor_slices((np.arange(len(images)), images.labels))
    if len(images) * 3 * image_size**2 <= MOST_KEPT_BYTES:
        items = shuffled(items.map(pixels_and_label, num_parallel_calls=tf.data.AUTOTUNE).cache())
    else:  # numbers are shuffled, not pixels
        items = shuffled(items).map(pixels_and_label, num_parallel_calls=tf.data.AUTOTUNE)
    batches = items.batch(batch_size).map(lambda pixels, label: (tf.cast(pixels, tf.float32), label))
    return batches.prefetch(tf.data.AUTOTUNE)


def _split_folders(folder: Path) -> dict[str, Path]:
    """Split to its folder, of the splits that are there."""
    if len(named := [name for name in _VALIDATION_NAMES if (folder / name).is_dir()]) > 1:
        raise ValueError(f"{folder} holds both {named[0]}/ and {named[1]}/: keep one of them.")
    places = {"train": folder / "train", "validation": folder / (named or SPLITS[1:])[0], "test": folder / "test"}
    return {split: place for split, place in places.items() if split == "train" or place.is_dir()}


def _class_folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise ValueError(f"{folder} is missing: a data set has train/ with one folder per class.")
    names = sorted(f.name for f in folder.iterdir() if f.is_dir() and not f.name.startswith((".", "__")))
    if not names:
        raise ValueError(f"{folder} holds no folder: put the images of each class into a folder of its own.")
    return names


def _list_files(folder: Path, class_names: tuple[str, ...]) -> tuple[Images, list[str]]:
    """The files of each class, and what lies beside them: nested folders, images outside of a class folder."""
    present = _class_folders(folder)
    if missing := sorted(set(class_names) - set(present)):
        raise ValueError(f"{folder} lacks the class folder {missing[0]!r}: it must hold {_listed(class_names)}.")
    if extra := sorted(set(present) - set(class_names)):
        raise ValueError(f"{folder} holds {extra[0]!r}, which is no class of this set: move it away.")
    entries = {name: _visible(folder / name) for name in class_names}
    files = {name: [str(entry) for entry in entries[name] if entry.is_file()] for name in class_names}
    left_out = [str(e) for e in _visible(folder) if not e.is_dir()]
    left_out += [str(e) for name in class_names for e in entries[name] if not e.is_file()]
    paths = [path for name in class_names for path in files[name]]
    labels = np.repeat(np.arange(len(class_names)), [len(files[name]) for name in class_names])
    return Images(np.array(paths, dtype=str), labels.astype(np.int64), class_names), left_out


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith((".", "__")))


def _readable(images: Images, most: int | None, seed: int) -> tuple[Images, list[str]]:
    """Keep the images that decode, at most ``most`` of each class; return them and the paths of the others seen."""
    if most is None:
        candidates = [np.flatnonzero(images.labels == c) for c in range(len(images.class_names))]
    else:
        candidates = images.shuffled_by_class(np.random.default_rng(seed))
    kept, bad = [], []
    with ThreadPool() as pool:
        for waiting in candidates:
            wanted = len(waiting) if most is None else most
            while len(waiting) and wanted:
                now, waiting = waiting[:wanted], waiting[wanted:]
                good = np.array(pool.map(_decodes, images.paths[now]), dtype=bool)
                kept += now[good].tolist()
                bad += images.paths[now[~good]].tolist()
                wanted -= int(good.sum())
    return images.select(np.sort(np.array(kept, dtype=int))), bad


def _decodes(path: str) -> bool:
    try:
        read_file(path, 8)
    except Exception:  # Pillow's decoders raise nearly every kind of error on damaged files
        return False
    return True


def _split(images: Images, fraction: float, seed: int) -> tuple[Images, Images]:
    """Draw ``fraction`` of each class, at least one image, out of ``images``: what is left, and what was drawn."""
    drawn = np.zeros(len(images), dtype=bool)
    for order in images.shuffled_by_class(np.random.default_rng(seed)):
        drawn[order[: max(1, round(fraction * len(order)))]] = True
    return images.select(np.flatnonzero(~drawn)), images.select(np.flatnonzero(drawn))


def _listed(names, most: int = 12) -> str:
    shown = ", ".join(list(names)[:most]).encode(errors="backslashreplace").decode()
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
