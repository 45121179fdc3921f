"""A folder of one's own photographs: what is wrong with it, and three splits of what is good.

Nothing in the folder is changed. Introduced in lesson 06.
"""

import dataclasses
import hashlib
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from helpers import data

APART = 30  # of 256 bits: the least distance of two pictures that are to count as independent
TINY = 32  # pixels of the shorter side: what is smaller is left out
HUGE = 80e6  # pixels: what is larger is left out, since it would need a quarter of a gigabyte
FEW = 20  # images per class, below which a class is reported
FEWEST = 5  # independent images per class: three to learn from, one for validation, one for test
UNEVEN = 3  # times the smallest class, beyond which the largest is reported
FRACTION = 0.2  # of the images of each class, for test and for validation each
_SPLIT_OF = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}
_KEPT_FIRST = ("test", "validation", "train", "")  # of copies in several splits, the test image is kept


@dataclasses.dataclass(frozen=True)
class Picture:
    """One good image: its file, what its folders say of it, and what tells copies."""

    path: str
    split: str
    class_name: str
    digest: str
    bits: np.ndarray


@dataclasses.dataclass(frozen=True)
class Checked:
    """What is good in a folder, and what was found.

    Attributes:
        images: The good images; no two are the same file.
        splits: The split that the folder gives to each, ``(n,)`` strings; ``""`` where it gives none.
        groups: A number for each, ``(n,)`` integers, which near-copies share.
        findings: What was found, one sentence each.
        left_out: File, as seen from the folder, to the reason why it is left out.
    """

    images: data.Images
    splits: np.ndarray
    groups: np.ndarray
    findings: tuple[str, ...]
    left_out: dict[str, str]

    def counts(self) -> pd.DataFrame:
        """Number of images by class, and of groups of near-copies: as many are independent."""
        rows = [self.images.labels == c for c in range(len(self.images.class_names))]
        counts = {"images": [int(row.sum()) for row in rows]}
        counts["independent"] = [len(np.unique(self.groups[row])) for row in rows]
        return pd.DataFrame(counts, index=list(self.images.class_names))


def check(folder: str | Path) -> Checked:
    """Look through a folder with one sub-folder per class, or with ``train/``, ``validation/``, ``test/`` above them.

    Args:
        folder: The folder; it is only read.

    Raises:
        ValueError: if it is missing or empty, or fewer than two classes have ``FEWEST`` independent images.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: name one that holds a sub-folder of photographs for each class.")
    findings: list[str] = []
    left_out: dict[str, str] = {}
    places = _places(folder, findings, left_out)
    pictures = _good(folder, places, findings, left_out)
    pictures = _without_copies(folder, pictures, left_out)
    groups = _groups([picture.bits for picture in pictures])
    pictures, groups = _without_near_copies_across_splits(folder, pictures, groups, left_out)
    for reason in dict.fromkeys(left_out.values()):
        files = [file for file, why in left_out.items() if why == reason]
        findings.append(f"{_number(files, 'file')} left out, {reason}: {_listed(files)}.")

    names = sorted({name for _, name, _ in places})
    owners = {group: picture.class_name for picture, group in reversed(list(zip(pictures, groups, strict=True)))}
    independent = {name: list(owners.values()).count(name) for name in names}
    for name in (name for name in names if independent[name] < FEWEST):
        findings.append(
            f"The class {_listed([name])} is left out: it has {independent[name]} independent good "
            f"image{'' if independent[name] == 1 else 's'}, and each class needs {FEWEST}."
        )
    names = [name for name in names if independent[name] >= FEWEST]
    if len(names) < 2:
        found = f"only one class, {_listed(names)}," if names else "no class"
        reasons = " ".join(findings) or "It holds nothing."
        raise ValueError(
            f"{folder} has {found} that can be learned: make a sub-folder for each of two or more classes, and put at "
            f"least {FEWEST} photographs into each. {reasons}"
        )
    keep = [i for i, picture in enumerate(pictures) if picture.class_name in names]
    kept, groups = [pictures[i] for i in keep], groups[keep]
    images = data.Images(
        np.array([picture.path for picture in kept], dtype=str),
        np.array([names.index(picture.class_name) for picture in kept], dtype=np.int64),
        tuple(names),
    )
    findings += _of_near_copies(folder, kept, groups) + _of_names(folder, kept) + _of_numbers(images)
    splits = np.array([picture.split for picture in kept], dtype=str)
    return Checked(images, splits, groups, tuple(findings), left_out)


def split(checked: Checked, seed: int = 0, split_of: Callable[[str], str] | None = None) -> data.Dataset:
    """Split what is good into train, validation and test, class by class; near-copies stay together.

    The splits that the folder gives are kept. Where test or validation is missing, a fifth of each class is drawn for
    it, single pictures before groups of near-copies, so that what is measured rests on independent pictures.

    Args:
        checked: What ``check`` returned.
        seed: Of the draw.
        split_of: From the path of an image to its split, one of ``data.SPLITS``, or to ``""`` for no wish, so that the
            images of one place or day lie on one side. Where the folder gives a split, it is not asked. A group of
            near-copies with images in several splits goes to test or else to validation.

    Raises:
        ValueError: if a split that the folder or ``split_of`` gives is unknown or has no image of a class.
    """
    images, splits = checked.images, checked.splits.astype("<U10")  # as long as "validation"
    by_rule = split_of is not None and not np.any(splits != "")
    if by_rule:
        splits = _wished(checked, split_of)
    drawn = [name for name in ("test", "validation") if name not in splits]
    rng = np.random.default_rng(seed)
    first = {group: i for i, group in reversed(list(enumerate(checked.groups.tolist())))}
    for c in range(len(images.class_names)):
        own = [group for group, i in first.items() if images.labels[i] == c and splits[i] in ("", "train")]
        waiting = [own[i] for i in rng.permutation(len(own))]
        waiting.sort(key=lambda group: np.sum(checked.groups == group))
        wanted = max(1, round(FRACTION * np.sum(images.labels == c)))
        for number, name in enumerate(drawn):
            leave = len(drawn) - number  # a group for each split that is still to come
            while np.sum((splits == name) & (images.labels == c)) < wanted and len(waiting) > leave:
                splits[checked.groups == waiting.pop(0)] = name
    splits[splits == ""] = "train"
    parts = {name: images.select(np.flatnonzero(splits == name)) for name in data.SPLITS}
    for name, part in parts.items():
        if missing := sorted(set(range(len(images.class_names))) - set(part.labels.tolist())):
            given = f"add some to {name}/, or put all images of each class into one folder, which is split for you."
            remedy = "change split_of, or add such images." if by_rule else given
            raise ValueError(f"There is no image of {_listed([images.class_names[missing[0]]])} for {name}: {remedy}")
    return data.Dataset(**parts, skipped=tuple(checked.left_out))


def _wished(checked: Checked, split_of: Callable[[str], str]) -> np.ndarray:
    """The split that a function wants for each image, one for each group of near-copies."""
    wanted = [split_of(path) for path in checked.images.paths.tolist()]
    if unknown := sorted(set(wanted) - {*data.SPLITS, ""}):
        raise ValueError(f"There is no split {unknown[0]!r}: return one of {', '.join(data.SPLITS)}, or an empty text.")
    best: dict[int, str] = {}
    for group, name in zip(checked.groups.tolist(), wanted, strict=True):
        best[group] = min(best.get(group, ""), name, key=_KEPT_FIRST.index)
    return np.array([best[group] for group in checked.groups.tolist()], dtype="<U10")


def write(images: data.Images, place: Path, image_size: int) -> Path:
    """Write images into one sub-folder per class of a new folder, upright and as JPEG, for tools that want it so.

    Args:
        images: The files.
        place: The new folder; what lies there is removed.
        image_size: Height and width of the result in pixels.

    Returns:
        ``place``.
    """
    shutil.rmtree(place, ignore_errors=True)

    def write_one(number):
        target = place / images.class_names[images.labels[number]] / f"{number:05d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(data.read_file(images.paths[number], image_size)).save(target, quality=95)

    with ThreadPool() as pool:
        pool.map(write_one, range(len(images)))
    return place


def difference_hash(image: Image.Image) -> np.ndarray:
    """256 bits, ``(256,)`` bool: whether each of 16 × 16 places is brighter than its left neighbour."""
    grey = np.asarray(image.convert("L").resize((17, 16), Image.Resampling.LANCZOS), dtype=int)
    return (grey[:, 1:] > grey[:, :-1]).ravel()


def distances(hashes: Iterable[np.ndarray], others: Iterable[np.ndarray]) -> np.ndarray:
    """Number of bits in which each hash differs from each other one, ``(hashes, others)`` integers."""
    hashes, others = (np.array(list(each), dtype=np.float32).reshape(-1, 256) for each in (hashes, others))
    return (hashes @ (1 - others).T + (1 - hashes) @ others.T).astype(int)


def _places(folder: Path, findings: list[str], left_out: dict[str, str]) -> list[tuple[str, str, Path]]:
    """Split, class and folder of each class folder."""
    root = folder
    while len(inside := _folders(root)) == 1 and _folders(inside[0]) and not _files(inside[0]):
        root = inside[0]
    if root != folder:
        where = _listed([str(root.relative_to(folder))])
        findings.append(f"The class folders lie too deep: those inside of {where} are used.")
    above = {path: _SPLIT_OF.get(path.name.lower(), "") for path in _folders(root)}
    splits = above if above and all(above.values()) and "train" in above.values() else {root: ""}
    places = []
    for path, name in splits.items():
        for file in _files(path):
            if not isinstance(_looked_at(file, folder), str):  # a list of credits may lie there
                left_out[_seen_from(folder, file)] = "since it lies beside the class folders"
        for class_folder in _folders(path):
            if _leads_out(class_folder, folder):
                left_out[_seen_from(folder, class_folder)] = "a symbolic link out of the folder"
            else:
                places.append((name, class_folder.name, class_folder))
    return places


def _good(
    folder: Path, places: list[tuple[str, str, Path]], findings: list[str], left_out: dict[str, str]
) -> list[Picture]:
    """Read every file below the class folders; those that are no good images go to ``left_out``."""
    found, nested = [], []
    for split_name, class_name, place in places:

        def refused(error):
            left_out[_seen_from(folder, Path(error.filename))] = "a folder that may not be read"

        for here, inside, files in os.walk(place, onerror=refused):
            inside[:] = sorted(name for name in inside if not _hidden(name))
            for name in [name for name in inside if os.path.islink(os.path.join(here, name))]:
                inside.remove(name)
                left_out[_seen_from(folder, Path(here, name))] = "a symbolic link to a folder"
            paths = [Path(here, name) for name in sorted(files) if not _hidden(name)]
            found += [(path, split_name, class_name) for path in paths]
            nested += [str(Path(here).relative_to(folder))] * (Path(here) != place and bool(paths))
    if nested:
        findings.append(
            f"{_number(nested, 'sub-folder')} of a class folder: the images are used, as of that class: "
            f"{_listed(nested)}."
        )
    with ThreadPool() as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of huge images
        looked_at = pool.map(lambda each: _looked_at(each[0], folder), found)
    pictures = []
    for (path, split_name, class_name), result in zip(found, looked_at, strict=True):
        if isinstance(result, str):
            left_out[_seen_from(folder, path)] = result
        else:
            pictures.append(Picture(str(path), split_name, class_name, *result))
    return pictures


def _looked_at(path: Path, folder: Path) -> tuple[str, np.ndarray] | str:
    """Hashes of a file's bytes and of its picture; or the reason why it is left out."""
    if _leads_out(path, folder):
        return "a symbolic link out of the folder"
    try:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        with Image.open(path, formats=data.FORMATS) as image:
            width, height = image.size
        if width * height > HUGE:
            return f"larger than {HUGE / 1e6:.0f} million pixels"
        if min(width, height) < TINY:
            return f"smaller than {TINY} pixels"
        return content, difference_hash(Image.fromarray(data.read_file(path, 64)))
    except PermissionError:
        return "since it may not be read"
    except Image.DecompressionBombError:
        return f"larger than {HUGE / 1e6:.0f} million pixels"
    except Exception:  # Pillow's decoders raise nearly every kind of error on damaged files
        return "not a readable image"


def _without_copies(folder: Path, pictures: list[Picture], left_out: dict[str, str]) -> list[Picture]:
    """One of each set of identical files, none of a set that lies in two classes."""
    copies: dict[str, list[Picture]] = {}
    for picture in pictures:
        copies.setdefault(picture.digest, []).append(picture)
    kept = set()
    for same in copies.values():
        best = min(same, key=lambda picture: _KEPT_FIRST.index(picture.split))
        if contradicted := len({picture.class_name for picture in same}) > 1:
            reason = "since the same file lies in two classes and one label must be wrong"
        else:
            kept.add(best.path)
        for picture in same:
            if picture.path not in kept:
                if not contradicted:
                    across = picture.split != best.split
                    reason = f"a copy of one in {best.split}" if across else "a copy of another of its class"
                left_out[_seen_from(folder, Path(picture.path))] = reason
    return [picture for picture in pictures if picture.path in kept]


def _without_near_copies_across_splits(
    folder: Path, pictures: list[Picture], groups: np.ndarray, left_out: dict[str, str]
) -> tuple[list[Picture], np.ndarray]:
    """Where a folder gives splits: of each group of near-copies, those in one split."""
    kept_in: dict[int, str] = {}
    for picture, group in zip(pictures, groups.tolist(), strict=True):
        kept_in[group] = min(kept_in.get(group, ""), picture.split, key=_KEPT_FIRST.index)
    keep = [i for i, picture in enumerate(pictures) if picture.split == kept_in[int(groups[i])]]
    for i in sorted(set(range(len(pictures))) - set(keep)):
        left_out[_seen_from(folder, Path(pictures[i].path))] = f"a near-copy of one in {kept_in[int(groups[i])]}"
    return [pictures[i] for i in keep], groups[keep]


def _groups(hashes: Sequence[np.ndarray]) -> np.ndarray:
    """A number for each hash, ``(n,)``; those less than ``APART`` bits apart, or linked by others, share it."""
    numbers = np.arange(len(hashes))
    for start in range(0, len(hashes), 1000):
        near = distances(hashes[start : start + 1000], hashes) < APART
        for one, other in np.argwhere(np.triu(near, k=start + 1)):
            numbers[numbers == numbers[other]] = numbers[start + one]
    return numbers


def _of_near_copies(folder: Path, pictures: list[Picture], groups: np.ndarray) -> list[str]:
    """A sentence on near-copies, and one on those in two classes."""
    by_group: dict[int, list[Picture]] = {}
    for picture, group in zip(pictures, groups.tolist(), strict=True):
        by_group.setdefault(group, []).append(picture)
    several = [group for group in by_group.values() if len(group) > 1]

    def shown(groups):
        return "; ".join(_listed([_seen_from(folder, Path(each.path)) for each in group], 3) for group in groups[:3])

    sentences = []
    if several:
        n = sum(map(len, several))
        sentences.append(
            f"{_number(several, 'group')} of near-copies, {n} images in all: each group goes into one split: "
            f"{shown(several)}."
        )
    if mixed := [group for group in several if len({picture.class_name for picture in group}) > 1]:
        sentences.append(
            f"{_number(mixed, 'group')} of near-copies in two classes; are the labels right? {shown(mixed)}."
        )
    return sentences


def _of_names(folder: Path, pictures: list[Picture]) -> list[str]:
    names = [_seen_from(folder, Path(picture.path)) for picture in pictures]
    unusual = [name for name in names if not name.isascii() or "\\udc" in name]
    if not unusual:
        return []
    return [f"{_number(unusual, 'name')} with letters beyond ASCII: they are used as they are: {_listed(unusual, 3)}."]


def _of_numbers(images: data.Images) -> list[str]:
    counts = dict(zip(images.class_names, np.bincount(images.labels).tolist(), strict=True))
    smallest, largest = min(counts, key=counts.get), max(counts, key=counts.get)
    sentences = []
    if few := [f"{name} {n}" for name, n in counts.items() if n < FEW]:
        sentences.append(
            f"{_number(few, 'class')} with fewer than {FEW} images: expect wide intervals, and add some: "
            f"{_listed(few)}."
        )
    if counts[largest] > UNEVEN * counts[smallest]:
        sentences.append(
            f"The classes are uneven: {counts[largest]} images of {_listed([largest])}, {counts[smallest]} of "
            f"{_listed([smallest])}. Look at the accuracy of each class."
        )
    return sentences


def _folders(path: Path) -> list[Path]:
    return [entry for entry in _visible(path) if entry.is_dir()]


def _files(path: Path) -> list[Path]:
    return [entry for entry in _visible(path) if not entry.is_dir()]


def _visible(path: Path) -> list[Path]:
    try:
        return sorted(entry for entry in path.iterdir() if not _hidden(entry.name))
    except OSError:  # what may not be read is told where its files are looked for
        return []


def _hidden(name: str) -> bool:
    return name.startswith((".", "__"))


def _leads_out(path: Path, folder: Path) -> bool:
    return path.is_symlink() and folder.resolve() not in path.resolve().parents


def _seen_from(folder: Path, path: Path) -> str:
    return str(path.relative_to(folder)).encode(errors="backslashreplace").decode()


def _number(items: Sequence, name: str) -> str:
    plural = {"class": "classes"}.get(name, f"{name}s")
    return f"{len(items)} {name if len(items) == 1 else plural}"


def _listed(names: Sequence[str], most: int = 6) -> str:
    shown = ", ".join(names[:most]).encode(errors="backslashreplace").decode()
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
