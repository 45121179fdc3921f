"""Archives of the real data sets: fetch with progress, verify, unpack safely, keep nothing half-made.

``python -m helpers.downloads food10`` fetches one set from the command line.
"""

import contextlib
import errno
import lzma
import mimetypes
import shutil
import sys
import tempfile
import time
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import pooch

from helpers import config

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_TIMES_LARGER = 20  # than its archive may a set be when it is unpacked: photographs hardly shrink
_DAY = 24 * 60 * 60  # seconds
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, UnicodeError, IndexError)
OTHER_WAYS = "set COURSE_DATA to a folder that already holds it, or use the sample run (COURSE_RUN=sample)"


def datasets() -> dict[str, dict]:
    """Every data set in ``data/datasets.toml``, by name."""
    return tomllib.loads((config.ROOT / "data" / "datasets.toml").read_text(encoding="utf-8"))


def describe(name: str) -> dict:
    """One entry of ``data/datasets.toml``; ValueError that lists the names if there is none."""
    known = datasets()
    if name not in known:
        raise ValueError(f"There is no data set {name!r}: choose from {', '.join(known)}.")
    return known[name]


def fetch(name: str, root: Path = config.DOWNLOADS) -> Path:
    """Return the folder of a data set, downloading it first if it is not there.

    Everything is made in a temporary folder beside it, one for each process, and moved into place at the end.

    Args:
        name: A name in ``data/datasets.toml``.
        root: Where the sets are kept.

    Returns:
        ``root / name``, with ``train/`` and where the set has them ``validation/`` and ``test/`` below it,
        each with one folder per class. It appears only when it is whole.

    Raises:
        ValueError: if the set is unknown, cannot be downloaded, or is not the expected one.
    """
    description = describe(name)
    folder = root / name
    if folder.is_dir():
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(root)
        with tempfile.TemporaryDirectory(dir=root, prefix=f"{name}-", suffix=".part") as unfinished:
            made = Path(unfinished) / "set"
            made.mkdir()
            if "keras" in description:
                _export_keras_dataset(description, made)
            for archive in description.get("archives", []):
                _fetch_archive(name, archive, root, made)
            try:
                made.rename(folder)
            except OSError:
                if not folder.is_dir():  # if it is, another process was faster
                    raise
    except OSError as error:  # requests' exceptions are OSErrors too
        raise ValueError(
            f"{name} could not be downloaded ({_reason(error)}): check the network and the disk, {OTHER_WAYS}."
        ) from error
    return folder


def _remove_abandoned(root: Path) -> None:
    """Remove what killed processes left behind a day ago or earlier."""
    for unfinished in root.glob("*.part"):
        with contextlib.suppress(OSError):  # another process may remove it too
            if unfinished.stat().st_mtime < time.time() - _DAY:
                shutil.rmtree(unfinished)


def _fetch_archive(name: str, archive: dict, root: Path, made: Path) -> None:
    """Download one archive, check it, and move the folders it is wanted for to their splits."""
    url, filename = archive["url"], f"{name}-{PurePosixPath(archive['url']).name}"
    path = made.with_name(filename)
    try:
        pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=2**16)(url, str(path), None)
    except ValueError as error:  # the server's headers make no sense
        raise OSError(error) from error
    size = path.stat().st_size
    if size != archive.get("bytes", size):
        raise ValueError(f"{url} gave {size:,} bytes, expected {archive['bytes']:,}: try again later.")
    record = root / f"{filename}.sha256"
    recorded = record.read_text().strip() if record.is_file() else ""
    known, found = archive.get("sha256") or recorded, pooch.file_hash(str(path))
    if known not in ("", found):
        raise ValueError(
            f"{url} is not the file it was: its sha256 is {found}, not {known}. Nothing was kept; "
            f"if the set was renewed on purpose, correct data/datasets.toml or delete {record.name}."
        )
    unpacked = made.with_name("unpacked")
    unpack(path, unpacked)
    for source, split in archive["unpack"].items():
        if not any(_is_image(file) for file in (unpacked / source).glob("*/*")):
            raise ValueError(f"{filename} holds no images in {source}/CLASS/: the set has changed; {OTHER_WAYS}.")
        (unpacked / source).rename(made / split)
    if not known:  # recorded last: the hash of a bad file would refuse the good one later
        record.write_text(found + "\n")
    shutil.rmtree(unpacked)
    path.unlink()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip archive below ``folder``; ``zipfile`` writes plain files and folders, and nothing outside of it.

    Raises:
        ValueError: if the file is no zip archive, is damaged, or would become far larger than a set of images.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            size = sum(entry.file_size for entry in opened.infolist())
            if size > MOST_TIMES_LARGER * archive.stat().st_size:
                raise ValueError(f"{archive.name} would unpack to {size:,} bytes: do not use this archive.")
            if size > (free := shutil.disk_usage(archive.parent).free):
                raise ValueError(f"{archive.name} needs {size / 1e9:.1f} GB, the disk has {free / 1e9:.1f}: make room.")
            opened.extractall(folder)
    except (*_DAMAGE, RuntimeError, OSError) as error:  # RuntimeError: encrypted
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: a place before the file's beginning
            raise
        reason = str(error) or type(error).__name__
        raise ValueError(f"{archive.name} is not a whole zip archive ({reason}): fetch it again.") from error


def _is_image(file: Path) -> bool:
    return (mimetypes.guess_type(file.name)[0] or "").startswith("image/") and file.is_file()


def _reason(error: OSError) -> str:
    if (response := getattr(error, "response", None)) is not None:
        return f"{response.url} answered {response.status_code} {response.reason}"
    own_words = str(error) if type(error) is OSError else ""  # those of requests are about its objects
    return ": ".join(filter(None, (error.strerror, error.filename))) or own_words or type(error).__name__


def _export_keras_dataset(description: dict, target: Path) -> None:
    """Write a data set of ``keras.datasets`` as PNG files in class folders (CIFAR-10: about a minute)."""
    import keras
    from PIL import Image

    try:
        splits = getattr(keras.datasets, description["keras"]).load_data()
    except Exception as error:  # Keras raises a bare Exception when a download fails
        raise OSError(error) from error
    for split, (images, labels) in zip(("train", "test"), splits, strict=True):
        for class_name in description["classes"]:
            (target / split / class_name).mkdir(parents=True)
        for index, (image, label) in enumerate(zip(images, labels.ravel(), strict=True)):
            Image.fromarray(image).save(target / split / description["classes"][label] / f"{index:05d}.png")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python -m helpers.downloads NAME, with NAME one of {', '.join(datasets())}")
    try:
        print(fetch(sys.argv[1]))
    except ValueError as error_message:
        sys.exit(str(error_message))
