import copy
import hashlib
import io
import os
import socket
import stat
import time
import types
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from helpers import config, data, downloads, lessons

FILES = {"photos/train/cat/0.jpg": b"cat 0", "photos/train/dog/0.jpg": b"dog 0", "photos/test/cat/0.jpg": b"cat 1"}
UNPACK = {"photos/train": "train", "photos/test": "test"}


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "downloads"


@pytest.fixture
def known_sets(monkeypatch):
    """The data sets there are; a test adds its own."""
    sets = {}
    monkeypatch.setattr(downloads, "datasets", lambda: sets)
    return sets


@pytest.fixture
def offer(site, known_sets):
    """A function that puts an archive on the site and describes the set ``photos`` by it."""

    def put(content: bytes, **facts) -> None:
        site.contents["photos.zip"] = content
        known_sets["photos"] = {"archives": [{"url": site.url("photos.zip"), "unpack": UNPACK, **facts}]}

    return put


def zipped(files: dict[str, bytes] = FILES, *special: tuple[str, int, str]) -> bytes:
    """A zip archive of files and of links or devices: name, kind, target."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # with a fixed date: the same bytes every time
        for name, kind, target in special:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (kind | 0o777) << 16
            archive.writestr(entry, target)
    return buffer.getvalue()


def compressed(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("photos/train/cat/0.jpg", content)
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def files_below(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_fetch_unpacks_to_splits_keeps_nothing_else_and_does_not_repeat_it(offer, site, root):
    offer(zipped(), bytes=len(zipped()), sha256=sha256(zipped()))
    for _ in range(2):
        assert downloads.fetch("photos", root) == root / "photos"
    assert site.hits == ["/photos.zip"]
    assert files_below(root) == {f"photos/{name.removeprefix('photos/')}": content for name, content in FILES.items()}
    assert [f.name for f in root.iterdir()] == ["photos"]


def test_several_archives_make_one_set_or_none(site, known_sets, root):
    archives = []
    for split in ("train", "test"):
        site.contents[f"{split}.zip"] = zipped({f"{split}/cat/0.jpg": split.encode()})
        archives.append({"url": site.url(f"{split}.zip"), "unpack": {split: split}, "sha256": None})
    known_sets["photos"] = {"archives": archives}
    second = site.contents.pop("test.zip")
    with pytest.raises(ValueError, match="photos could not be downloaded"):
        downloads.fetch("photos", root)
    assert [f for f in root.iterdir() if f.is_dir()] == []
    site.contents["test.zip"] = second
    assert files_below(downloads.fetch("photos", root)) == {"train/cat/0.jpg": b"train", "test/cat/0.jpg": b"test"}


def test_two_processes_at_once_both_get_the_whole_set(offer, root, monkeypatch):
    offer(zipped())
    unpack, others = downloads.unpack, []

    def unpack_while_another_fetches(archive, folder):
        unpack(archive, folder)
        monkeypatch.setattr(downloads, "unpack", unpack)
        others.append(downloads.fetch("photos", root))

    monkeypatch.setattr(downloads, "unpack", unpack_while_another_fetches)
    assert [downloads.fetch("photos", root)] == others == [root / "photos"]
    assert len(files_below(root / "photos")) == len(FILES)
    assert sorted(f.name for f in root.iterdir()) == ["photos", "photos-photos.zip.sha256"]


def test_leftovers_of_killed_processes_go_after_a_day(offer, root):
    offer(zipped())
    for name, hours in (("photos-a.part", 25), ("others-b.part", 25), ("photos-c.part", 23)):
        (root / name / "set" / "train" / "old").mkdir(parents=True)
        os.utime(root / name, 2 * (time.time() - 3600 * hours,))
    assert len(files_below(downloads.fetch("photos", root))) == len(FILES)
    assert {f.name for f in root.iterdir() if f.is_dir()} == {"photos", "photos-c.part"}


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (dict(sha256=sha256(b"another file")), "is not the file it was: its sha256 is"),
        (dict(bytes=10), rf"gave {len(zipped())} bytes, expected 10: try again later"),
        (dict(unpack={"pictures/train": "train"}), "holds no images in pictures/train/CLASS/"),
    ],
)
def test_unexpected_archive_is_refused_and_nothing_is_kept(offer, root, facts, message):
    offer(zipped(), **facts)
    with pytest.raises(ValueError, match=message) as error:
        downloads.fetch("photos", root)
    assert "\n" not in str(error.value)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("name", ["photos/train/0.jpg", "photos/train/cat/notes.txt", "photos/train/cat/more/0.jpg"])
def test_archive_without_images_in_class_folders_is_not_kept(offer, root, name):
    offer(zipped({name: b"x"}), unpack={"photos/train": "train"})
    with pytest.raises(ValueError, match=r"photos\.zip holds no images in photos/train/CLASS/"):
        downloads.fetch("photos", root)
    assert list(root.iterdir()) == []


def test_unknown_hash_is_recorded_and_a_later_different_file_refused(offer, root):
    offer(zipped())
    downloads.fetch("photos", root).rename(root / "first")
    record = root / "photos-photos.zip.sha256"
    assert record.read_text() == sha256(zipped()) + "\n"
    downloads.fetch("photos", root).rename(root / "second")  # the same file is let in again
    offer(zipped({**FILES, "photos/train/cat/0.jpg": b"swapped"}))
    with pytest.raises(ValueError, match=r"delete photos-photos\.zip\.sha256"):
        downloads.fetch("photos", root)
    assert not (root / "photos").exists()
    record.write_text("")  # as a full disk leaves it: that is no hash
    assert downloads.fetch("photos", root).is_dir()
    assert len(record.read_text()) == 65


def no_server(site, known_sets):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        known_sets["photos"]["archives"][0]["url"] = f"http://127.0.0.1:{unused.getsockname()[1]}/photos.zip"


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (no_server, "ConnectionError"),
        (lambda site, _: setattr(site, "status", 404), r"http://127\S+/photos\.zip answered 404 Not Found"),
        (lambda site, _: setattr(site, "status", 429), r"http://127\S+/photos\.zip answered 429 Too Many Requests"),
        (lambda site, _: setattr(site, "status", 503), r"http://127\S+/photos\.zip answered 503 Service Unavailable"),
        (lambda site, _: setattr(site, "cut_after", 50), "ChunkedEncodingError"),
        (lambda site, _: setattr(site, "length", "many"), "invalid literal.*"),
    ],
)
def test_failed_download_gives_one_sentence_with_the_other_ways_and_can_be_repeated(
    offer, site, known_sets, root, trouble, reason
):
    offer(zipped())
    trouble(site, known_sets)
    with pytest.raises(ValueError, match=rf"^photos could not be downloaded \({reason}\): check the network") as error:
        downloads.fetch("photos", root)
    assert "COURSE_DATA" in str(error.value)
    assert "COURSE_RUN=sample" in str(error.value)
    assert "\n" not in str(error.value)
    assert list(root.iterdir()) == []
    site.status, site.cut_after, site.length = 200, None, None
    offer(zipped())
    assert len(files_below(downloads.fetch("photos", root))) == len(FILES)


def damaged(content: bytes, at: int) -> bytes:
    return content[:at] + b"\xff" * 9 + content[at + 9 :]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(zipped().replace(b"cat 0", b"cat X"), "is not a whole zip archive", id="checksum"),
        pytest.param(zipped()[:-10], "is not a whole zip archive", id="cut"),
        pytest.param(damaged(compressed(os.urandom(99) * 9), at=60), "is not a whole zip archive", id="inflate"),
        pytest.param(b"", "is not a whole zip archive", id="empty file"),
        pytest.param(zipped({}), "holds no images", id="empty archive"),
        pytest.param(b"<html>Not found</html>", "is not a whole zip archive", id="web page"),
        pytest.param(compressed(bytes(10**6)), "would unpack to 1,000,000 bytes", id="bomb"),
    ],
)
def test_archive_that_cannot_be_unpacked_is_named_and_nothing_is_kept(offer, root, content, reason):
    offer(content)
    with pytest.raises(ValueError, match=rf"^photos-photos\.zip {reason}"):
        downloads.fetch("photos", root)
    assert list(root.iterdir()) == []


def test_archive_for_which_the_disk_has_no_room_is_not_unpacked(offer, root, monkeypatch):
    offer(zipped())
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=3))
    with pytest.raises(ValueError, match=r"the disk has .*: make room"):
        downloads.fetch("photos", root)


@pytest.mark.parametrize("name", ["../evil", "photos/../../../evil", "/evil", "C:/evil", "..\\evil"])
def test_names_that_lead_elsewhere_write_nothing_outside(tmp_path, name):
    (tmp_path / "archive").write_bytes(zipped({**FILES, name: b"x"}))
    downloads.unpack(tmp_path / "archive", tmp_path / "out" / "deeper")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["archive", "out"]
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["deeper"]
    assert not Path("/evil").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_unpacked_as_plain_files(tmp_path, kind):
    (tmp_path / "archive").write_bytes(zipped(FILES, ("photos/special", kind, str(tmp_path))))
    downloads.unpack(tmp_path / "archive", tmp_path / "out")
    assert stat.S_ISREG((tmp_path / "out" / "photos" / "special").lstat().st_mode)


def test_unknown_set_lists_the_sets(root):
    with pytest.raises(ValueError, match="data set 'foods'") as error:
        downloads.fetch("foods", root)
    assert all(name in str(error.value) for name in downloads.datasets())
    assert not root.exists()


def test_set_of_keras_datasets_is_written_as_lossless_images_in_class_folders(monkeypatch, known_sets, root, rng):
    images = rng.integers(0, 256, size=(5, 6, 6, 3), dtype=np.uint8)
    labels = np.array([[1], [0], [1], [0], [1]])  # a column, as CIFAR-10's are
    loader = types.SimpleNamespace(load_data=lambda: ((images[:3], labels[:3]), (images[3:], labels[3:])))
    monkeypatch.setattr(keras.datasets, "tiny", loader, raising=False)
    known_sets["tiny"] = {"keras": "tiny", "classes": ["cat", "dog"]}
    folder = downloads.fetch("tiny", root)
    files = ["train/dog/00000.png", "train/cat/00001.png", "train/dog/00002.png"]
    files += ["test/cat/00000.png", "test/dog/00001.png"]
    assert set(files_below(folder)) == set(files)
    for file, image in zip(files, images, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(folder / file)), image)


def test_set_of_keras_datasets_that_cannot_be_downloaded_gives_the_same_sentence(monkeypatch, known_sets, root):
    def fail():
        raise Exception("URL fetch failure on https://example.org: 404 Not Found")

    monkeypatch.setattr(keras.datasets, "tiny", types.SimpleNamespace(load_data=fail), raising=False)
    known_sets["tiny"] = {"keras": "tiny", "classes": ["cat", "dog"]}
    with pytest.raises(
        ValueError, match=r"tiny could not be downloaded \(URL fetch.*404 Not Found\).*COURSE_DATA.*COURSE_RUN=sample"
    ):
        downloads.fetch("tiny", root)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("name", downloads.datasets())
def test_entry_of_the_list_of_data_sets_is_well_formed(name):
    entry = downloads.describe(name)
    assert {"title", "licence"} <= set(entry) <= {"title", "licence", "classes", "archives", "keras", "url"}
    addresses = [entry["url"]] if "keras" in entry else [archive["url"] for archive in entry["archives"]]
    assert all(address.startswith("https://") for address in addresses)
    classes = entry.get("classes", [])
    assert classes == sorted(set(classes))
    if "keras" in entry:
        assert "archives" not in entry
        assert hasattr(keras.datasets, entry["keras"])
        return
    splits = [split for archive in entry["archives"] for split in archive["unpack"].values()]
    assert "train" in splits
    assert len(splits) == len(set(splits) & set(data.SPLITS))
    for archive in entry["archives"]:
        assert set(archive) <= {"url", "bytes", "sha256", "unpack"}
        assert archive["url"].endswith(".zip")
        assert len(bytes.fromhex(archive.get("sha256", "00" * 32))) == 32
        assert archive.get("bytes", 1) > 0


def test_every_full_run_uses_a_data_set_of_the_list():
    used = {lessons.settings(name, "full").dataset for name in lessons.LESSONS if name != "06"}  # which takes a folder
    assert used <= set(downloads.datasets())


@pytest.mark.parametrize("arguments", [(), ("foods",)])
def test_command_line_ends_with_a_sentence_that_lists_the_sets(run_python, arguments):
    code = (
        "import runpy\ntry:\n    runpy.run_module('helpers.downloads', run_name='__main__')\n"
        "except SystemExit as end:\n    print(end)"
    )
    printed = run_python(code, *arguments)
    assert len(printed.splitlines()) == 1
    assert all(name in printed for name in downloads.datasets())


def test_full_run_of_lesson_05_reads_an_archive_laid_out_as_fruits_360(site, monkeypatch, tmp_path):
    """Made of the samples: class names with spaces, no validation images, the archive's own folders."""
    samples, archive = config.SAMPLES / "fruits360", io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        for split, folder in (("train", "Training"), ("test", "Test")):
            for file in (samples / split).glob("*/*.jpg"):
                opened.write(file, f"fruits-360-100x100-main/{folder}/{file.parent.name} 1/{file.name}")
    site.contents["main.zip"] = archive.getvalue()
    description = copy.deepcopy(downloads.describe("fruits360"))
    description["archives"][0]["url"] = site.url("main.zip")
    monkeypatch.setattr(downloads, "datasets", lambda: {"fruits360": description})
    monkeypatch.setenv("COURSE_DATA", str(downloads.fetch("fruits360", tmp_path).parent))
    dataset = data.load(lessons.settings("05-fruits", "full"))
    assert dataset.class_names == tuple(sorted(f"{folder.name} 1" for folder in (samples / "train").iterdir()))
    counts = dataset.counts().loc["total"]
    assert counts["train"] + counts["validation"] == len(list((samples / "train").glob("*/*.jpg")))
    assert counts["test"] == len(list((samples / "test").glob("*/*.jpg")))
    assert data.duplicates_across_splits(dataset) == []
