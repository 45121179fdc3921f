import copy
import hashlib
import io
import socket
import stat
import tarfile
import types
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from helpers import config, data, downloads

LINK_ATTRIBUTES = (stat.S_IFLNK | 0o777) << 16
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

    def put(content: bytes, name: str = "photos.zip", unpack=UNPACK, **facts) -> None:
        site.contents[name] = content
        known_sets["photos"] = {"archives": [{"url": site.url(name), "unpack": unpack, **facts}]}

    return put


def zipped(files: dict[str, bytes] = FILES, **link_targets: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # with a fixed date: the same bytes every time
        for name, target in link_targets.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = LINK_ATTRIBUTES
            archive.writestr(entry, target)
    return buffer.getvalue()


def tarred(files: dict[str, bytes] = FILES, *entries: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for entry in entries:
            archive.addfile(entry)
    return buffer.getvalue()


def tar_entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def files_below(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def closed_port_url() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/photos.zip"


@pytest.mark.parametrize(("name", "content"), [("photos.zip", zipped()), ("photos.tar.gz", tarred())])
def test_fetch_unpacks_to_splits_and_keeps_nothing_else(offer, root, name, content):
    offer(content, name, bytes=len(content), sha256=sha256(content))
    assert downloads.fetch("photos", root) == root / "photos"
    assert files_below(root) == {
        "photos/train/cat/0.jpg": b"cat 0",
        "photos/train/dog/0.jpg": b"dog 0",
        "photos/test/cat/0.jpg": b"cat 1",
    }
    assert [f.name for f in root.iterdir()] == ["photos"]


def test_fetch_does_not_repeat_a_download(offer, site, root):
    offer(zipped())
    downloads.fetch("photos", root)
    downloads.fetch("photos", root)
    assert site.hits == ["/photos.zip"]


def test_several_archives_make_one_set(site, known_sets, root):
    archives = []
    for split in ("train", "test"):
        site.contents[f"{split}.zip"] = zipped({f"{split}/cat/0.jpg": split.encode()})
        archives.append({"url": site.url(f"{split}.zip"), "unpack": {split: split}})
    known_sets["photos"] = {"archives": archives}
    assert files_below(downloads.fetch("photos", root)) == {"train/cat/0.jpg": b"train", "test/cat/0.jpg": b"test"}


def test_second_archive_that_fails_takes_the_first_with_it(site, known_sets, root):
    site.contents["train.zip"] = zipped({"train/cat/0.jpg": b"cat"})
    names = {"train": "train.zip", "test": "missing.zip"}
    known_sets["photos"] = {"archives": [{"url": site.url(n), "unpack": {s: s}} for s, n in names.items()]}
    with pytest.raises(ValueError, match="photos could not be downloaded"):
        downloads.fetch("photos", root)
    assert [f for f in root.iterdir() if f.is_dir()] == []


def test_wrong_hash_is_refused_and_nothing_is_kept(offer, root):
    offer(zipped(), sha256=sha256(b"another file"))
    with pytest.raises(ValueError, match="is not the file it was: its sha256 differs") as error:
        downloads.fetch("photos", root)
    assert "\n" not in str(error.value)
    assert list(root.iterdir()) == []


def test_wrong_size_is_refused_and_nothing_is_kept(offer, root):
    content = zipped()
    offer(content, bytes=len(content) + 1, sha256=sha256(content))
    with pytest.raises(ValueError, match=f"gave {len(content):,} bytes, expected {len(content) + 1:,}"):
        downloads.fetch("photos", root)
    assert list(root.iterdir()) == []


def test_unknown_hash_is_recorded_and_a_later_different_file_refused(offer, root):
    offer(zipped())
    folder = downloads.fetch("photos", root)
    assert (root / "photos-photos.zip.sha256").read_text() == sha256(zipped()) + "\n"
    folder.rename(root / "set aside")
    offer(zipped({**FILES, "photos/train/cat/0.jpg": b"swapped"}))
    with pytest.raises(ValueError, match=r"delete photos-photos\.zip\.sha256"):
        downloads.fetch("photos", root)
    assert sorted(f.name for f in root.iterdir()) == ["photos-photos.zip.sha256", "set aside"]


def test_recorded_hash_lets_the_same_file_in_again(offer, root):
    offer(zipped())
    downloads.fetch("photos", root).rename(root / "set aside")
    assert files_below(downloads.fetch("photos", root)) == files_below(root / "set aside")


def test_hash_of_a_file_of_the_wrong_size_is_not_recorded(offer, root):
    offer(zipped(), bytes=1)
    with pytest.raises(ValueError, match="expected 1"):
        downloads.fetch("photos", root)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("trouble", ["no server", "no such file", "connection cut"])
def test_failed_download_gives_one_sentence_with_the_other_ways_and_keeps_nothing(offer, site, root, trouble):
    offer(zipped())
    if trouble == "no server":
        offer(zipped(), url=closed_port_url())
    elif trouble == "no such file":
        site.contents.clear()
    else:
        site.cut_after = 50
    with pytest.raises(ValueError, match="photos could not be downloaded") as error:
        downloads.fetch("photos", root)
    message = str(error.value)
    assert "COURSE_DATA" in message
    assert "COURSE_RUN=sample" in message
    assert "\n" not in message
    assert list(root.iterdir()) == []


def test_download_works_after_a_failed_one(offer, site, root):
    offer(zipped())
    site.cut_after = 50
    with pytest.raises(ValueError, match="could not be downloaded"):
        downloads.fetch("photos", root)
    site.cut_after = None
    assert len(files_below(downloads.fetch("photos", root))) == len(FILES)


def test_half_made_set_of_an_interrupted_run_is_made_again(offer, root):
    offer(zipped())
    (root / "photos.part" / "train" / "old").mkdir(parents=True)
    folder = downloads.fetch("photos", root)
    assert sorted(f.name for f in (folder / "train").iterdir()) == ["cat", "dog"]


def test_archive_without_the_wanted_folder_is_refused(offer, root):
    offer(zipped(), unpack={"pictures/train": "train"})
    with pytest.raises(ValueError, match="holds no folder 'pictures/train'"):
        downloads.fetch("photos", root)
    assert not (root / "photos").exists()
    assert not (root / "photos.part").exists()


def damaged_zip() -> bytes:
    return zipped().replace(b"cat 0", b"cat X")  # stored uncompressed: its CRC no longer fits


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.zip", damaged_zip(), "is damaged"),
        ("a.zip", zipped()[:-10], "neither a zip nor a tar archive"),
        ("a.tar.gz", tarred({"a": np.random.default_rng(0).bytes(4000)})[:-2000], "is damaged"),
        ("a.zip", b"<html>Not found</html>", "neither a zip nor a tar archive"),
    ],
)
def test_damaged_archive_is_named(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"^{name} .*{reason}"):
        downloads.unpack(tmp_path / name, tmp_path / "out")


def test_compressed_data_that_do_not_inflate_are_named_as_damage(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"abc" * 1000)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[31:40] = b"\xff" * 9  # behind the entry's 31 bytes of header and name
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"^a\.zip is damaged"):
        downloads.unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("content", [damaged_zip(), zipped({**FILES, "../evil": b"x"})])
def test_archive_that_is_refused_leaves_nothing_behind_and_a_good_one_is_then_taken(offer, root, content):
    offer(content)
    with pytest.raises(ValueError, match=r"is damaged|is not a plain file"):
        downloads.fetch("photos", root)
    assert list(root.iterdir()) == []
    offer(zipped())
    assert len(files_below(downloads.fetch("photos", root))) == len(FILES)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(zipped({**FILES, "../evil": b"x"}), id="zip-parent"),
        pytest.param(zipped({**FILES, "photos/../../evil": b"x"}), id="zip-parent-inside"),
        pytest.param(zipped({**FILES, "/evil": b"x"}), id="zip-absolute"),
        pytest.param(zipped({**FILES, "C:/evil": b"x"}), id="zip-drive"),
        pytest.param(zipped({**FILES, "C:evil": b"x"}), id="zip-drive-relative"),
        pytest.param(zipped({**FILES, "..\\evil": b"x"}), id="zip-backslash"),
        pytest.param(zipped(FILES, evil="/etc/passwd"), id="zip-symlink"),
        pytest.param(tarred({**FILES, "../evil": b"x"}), id="tar-parent"),
        pytest.param(tarred({**FILES, "/evil": b"x"}), id="tar-absolute"),
        pytest.param(tarred({**FILES, "C:\\evil": b"x"}), id="tar-drive"),
        pytest.param(tarred(FILES, tar_entry("evil", tarfile.SYMTYPE, "photos")), id="tar-symlink"),
        pytest.param(tarred(FILES, tar_entry("evil", tarfile.LNKTYPE, "photos/train/cat/0.jpg")), id="tar-hardlink"),
        pytest.param(tarred(FILES, tar_entry("evil", tarfile.FIFOTYPE)), id="tar-pipe"),
    ],
)
def test_archive_with_an_entry_that_does_not_belong_is_refused_before_anything_is_written(tmp_path, content):
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(ValueError, match=r"archive holds '.*evil', which is not a plain file below it"):
        downloads.unpack(tmp_path / "archive", tmp_path / "out" / "deeper")
    assert [f.name for f in tmp_path.rglob("*")] == ["archive"]


def test_names_with_dots_in_them_are_no_parent_folders(tmp_path):
    (tmp_path / "archive").write_bytes(zipped({"a/..b/c...jpg": b"x"}))
    downloads.unpack(tmp_path / "archive", tmp_path / "out")
    assert files_below(tmp_path / "out") == {"a/..b/c...jpg": b"x"}


def test_unknown_set_lists_the_sets(root):
    with pytest.raises(ValueError, match="data set 'foods'") as error:
        downloads.fetch("foods", root)
    assert all(name in str(error.value) for name in downloads.datasets())
    assert not root.exists()


def fake_keras_dataset(load_data):
    return types.SimpleNamespace(load_data=load_data)


def test_set_of_keras_datasets_is_written_as_lossless_images_in_class_folders(monkeypatch, known_sets, root, rng):
    images = rng.integers(0, 256, size=(5, 6, 6, 3), dtype=np.uint8)
    labels = np.array([[1], [0], [1], [0], [1]])  # a column, as CIFAR-10's are
    loader = fake_keras_dataset(lambda: ((images[:3], labels[:3]), (images[3:], labels[3:])))
    monkeypatch.setattr(keras.datasets, "tiny", loader, raising=False)
    known_sets["tiny"] = {"keras": "tiny", "classes": ["cat", "dog"]}
    folder = downloads.fetch("tiny", root)
    expected = {
        "train/dog/00000": 0,
        "train/cat/00001": 1,
        "train/dog/00002": 2,
        "test/cat/00000": 3,
        "test/dog/00001": 4,
    }
    assert set(files_below(folder)) == {f"{name}.png" for name in expected}
    for name, index in expected.items():
        np.testing.assert_array_equal(np.asarray(Image.open(folder / f"{name}.png")), images[index])


def test_set_of_keras_datasets_that_cannot_be_downloaded_gives_the_same_sentence(monkeypatch, known_sets, root):
    def fail():
        raise Exception("URL fetch failure on https://example.org")

    monkeypatch.setattr(keras.datasets, "tiny", fake_keras_dataset(fail), raising=False)
    known_sets["tiny"] = {"keras": "tiny", "classes": ["cat", "dog"]}
    with pytest.raises(ValueError, match=r"tiny could not be downloaded .*COURSE_DATA.*COURSE_RUN=sample"):
        downloads.fetch("tiny", root)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("name", downloads.datasets())
def test_entry_of_the_list_of_data_sets_is_well_formed(name):
    entry = downloads.describe(name)
    assert set(entry) <= {"title", "licence", "classes", "archives", "keras", "url"}
    assert all(address.startswith("https://") for address in downloads.addresses(name))
    assert entry["title"]
    assert entry["licence"]
    assert ("keras" in entry) != ("archives" in entry)
    classes = entry.get("classes", ["any"])
    assert classes == sorted(set(classes))
    if "keras" in entry:
        assert hasattr(keras.datasets, entry["keras"])
    splits = [split for archive in entry.get("archives", []) for split in archive["unpack"].values()]
    if "archives" in entry:
        assert "train" in splits
    assert len(splits) == len(set(splits))
    assert set(splits) <= {"train", "validation", "test"}
    for archive in entry.get("archives", []):
        assert set(archive) <= {"url", "bytes", "sha256", "unpack"}
        assert archive["url"].startswith("https://")
        assert set(archive.get("sha256", "0" * 64)) <= set("0123456789abcdef")
        assert len(archive.get("sha256", "0" * 64)) == 64
        assert archive.get("bytes", 1) > 0


def test_every_lesson_uses_a_data_set_of_the_list():
    used = {config.settings(lesson, run).dataset for lesson in config.LESSONS for run in config.RUNS}
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


# The real description of a set, on an archive of the same layout


def test_full_run_of_lesson_05_reads_an_archive_laid_out_as_fruits_360(site, monkeypatch, tmp_path):
    """Made of the samples: class names with spaces, no validation images, the archive's own folders."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped_set:
        for split, folder in (("train", "Training"), ("test", "Test")):
            for file in (config.SAMPLES / "fruits360" / split).rglob("*.jpg"):
                name = file.parent.name.replace("_", " ").title() + " 1"
                zipped_set.write(file, f"fruits-360-100x100-main/{folder}/{name}/{file.name}")
    site.contents["main.zip"] = archive.getvalue()
    description = copy.deepcopy(downloads.describe("fruits360"))
    description["archives"][0]["url"] = site.url("main.zip")
    monkeypatch.setattr(downloads, "datasets", lambda: {"fruits360": description})
    assert downloads.fetch("fruits360", tmp_path) == tmp_path / "fruits360"

    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setenv("COURSE_LIMIT", "6")
    dataset = data.load(config.settings("05-fruits", "full"))
    assert dataset.class_names[:2] == ("Apple Green 1", "Apple Red 1")
    # 12 training images of a class: a fifth of them validate, and the limit leaves 6 of the others, and of 8 to test
    assert dataset.counts().drop("total").drop_duplicates().to_numpy().tolist() == [[6, 2, 6]]
    assert data.in_two_splits(dataset) == []
