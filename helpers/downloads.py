"""Archives of the real data sets: fetch with progress, verify, unpack safely, keep nothing half-made.

``python -m helpers.downloads food10`` fetches one set from the command line.
"""

import gzip
import lzma
import shutil
import stat
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

import pooch

from helpers import config

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError)
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


def addresses(name: str) -> list[str]:
    """Where a data set is fetched from."""
    description = describe(name)
    return [description["url"]] if "keras" in description else [a["url"] for a in description["archives"]]


def fetch(name: str, root: Path = config.DOWNLOADS) -> Path:
    """Return the folder of a data set, downloading it first if it is not there.

    Args:
        name: A name in ``data/datasets.toml``.
        root: Where the sets are kept.

    Returns:
        ``root / name``, with ``train/`` and where the set has them ``validation/`` and ``test/`` below it,
        each with one folder a class. It appears only when it is whole.

    Raises:
        ValueError: if the set is unknown, cannot be downloaded, or is not the expected one.
    """
    description = describe(name)
    folder = root / name
    if folder.is_dir():
        return folder
    unfinished = root / f"{name}.part"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        if "keras" in description:
            _export_keras_dataset(description, unfinished)
        for archive in description.get("archives", []):
            _fetch_archive(name, archive, root, unfinished)
        unfinished.rename(folder)
    except OSError as error:  # requests' exceptions are OSErrors too
        reason = ": ".join(filter(None, (error.strerror, error.filename))) or type(error).__name__
        raise ValueError(
            f"{name} could not be downloaded ({reason}): check the network and the disk, {OTHER_WAYS}."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _fetch_archive(name: str, archive: dict, root: Path, target: Path) -> None:
    """Download one archive, check it, and move the folders it is wanted for to their splits."""
    filename = f"{name}-{PurePosixPath(archive['url']).name}"
    record = root / f"{filename}.sha256"
    known_hash = archive.get("sha256") or (record.read_text().strip() if record.exists() else None)
    try:
        path = Path(
            pooch.retrieve(
                archive["url"],
                known_hash=known_hash and f"sha256:{known_hash}",
                fname=filename,
                path=root,
                downloader=pooch.HTTPDownloader(progressbar=sys.stderr.isatty()),
            )
        )
    except ValueError as error:  # pooch's message is long; ours says what to do
        if isinstance(error, OSError):  # requests' InvalidURL is both
            raise
        raise ValueError(
            f"{archive['url']} is not the file it was: its sha256 differs from {known_hash}. Nothing was kept; "
            f"if the set was renewed on purpose, correct data/datasets.toml or delete {record.name}."
        ) from error
    try:
        size = path.stat().st_size
        if size != archive.get("bytes", size):
            raise ValueError(f"{archive['url']} gave {size:,} bytes, expected {archive['bytes']:,}: try again later.")
        unpacked = target / "unpacked"
        unpack(path, unpacked)
        for source, split in archive["unpack"].items():
            if not (unpacked / source).is_dir():
                raise ValueError(f"{filename} holds no folder {source!r}: the set has changed; {OTHER_WAYS}.")
            (unpacked / source).rename(target / split)
        if known_hash is None:  # recorded last: the hash of a bad file would refuse the good one later
            record.write_text(pooch.file_hash(str(path)) + "\n")
        shutil.rmtree(unpacked)
    finally:
        path.unlink()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive below ``folder``, refusing what does not belong there.

    Raises:
        ValueError: if the file is no such archive, is damaged, or an entry is a link or a device, or would land
            outside ``folder``. Entries are checked before the first is written.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                for entry in opened.infolist():
                    _check_entry(archive, entry.filename, plain=not stat.S_ISLNK(entry.external_attr >> 16))
                opened.extractall(folder)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as opened:
                members = opened.getmembers()
                for entry in members:
                    _check_entry(archive, entry.name, plain=entry.isfile() or entry.isdir())
                filtered = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
                opened.extractall(folder, members, **filtered)
        else:
            raise ValueError(f"{archive.name} is neither a zip nor a tar archive: fetch it again.")
    except (*_DAMAGE, RuntimeError) as error:  # RuntimeError: an encrypted zip
        raise ValueError(f"{archive.name} is damaged ({error}): fetch it again.") from error


def _check_entry(archive: Path, name: str, plain: bool) -> None:
    path = PureWindowsPath(name)  # splits at both / and \\, and knows drive letters
    if not plain or path.anchor or ".." in path.parts:
        raise ValueError(f"{archive.name} holds {name!r}, which is not a plain file below it: do not use this archive.")


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
