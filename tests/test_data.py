import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import config, data, downloads, lessons


def names(images: data.Images) -> list[str]:
    return [Path(*Path(path).parts[-3:]).as_posix() for path in images.paths]


def batches_of(pipeline) -> tuple[np.ndarray, np.ndarray]:
    pixels, labels = zip(*pipeline.as_numpy_iterator(), strict=True)
    return np.concatenate(pixels), np.concatenate(labels)


# Reading pixels


def test_pipeline_gives_batches_of_raw_rgb_in_the_order_of_the_files(tiny_set):
    images = data.find_images(tiny_set).train
    batches = list(data.pipeline(images, image_size=8, batch_size=3).as_numpy_iterator())
    assert [pixels.shape for pixels, _ in batches] == [(3, 8, 8, 3), (3, 8, 8, 3), (1, 8, 8, 3)]
    assert {(pixels.dtype, labels.dtype) for pixels, labels in batches} == {(np.dtype("f4"), np.dtype("i8"))}
    pixels, labels = batches_of(data.pipeline(images, image_size=8))
    assert labels.tolist() == images.labels.tolist()
    expected = [np.asarray(Image.open(path), dtype=float).mean(axis=(0, 1)) for path in images.paths]
    np.testing.assert_allclose(pixels.mean(axis=(1, 2)), expected, atol=1)  # each file has one colour


def test_read_gives_the_pixels_of_the_pipeline_as_bytes(tiny_set):
    photograph(60, 40).save(tiny_set / "train" / "cat" / "00.jpg")
    images = data.find_images(tiny_set).train
    pixels = data.read(images, 9)
    assert (pixels.shape, pixels.dtype) == ((7, 9, 9, 3), np.uint8)
    np.testing.assert_array_equal(pixels, batches_of(data.pipeline(images, 9))[0])
    assert data.read(images.select(np.array([], int)), 9).shape == (0, 9, 9, 3)


def photograph(width: int, height: int) -> Image.Image:
    """A smooth gradient with a bright disc, so that scaling it down keeps it recognisable."""
    y, x = np.mgrid[0:height, 0:width]
    disc = (x / width - 0.4) ** 2 + (y / height - 0.6) ** 2 < 0.04
    pixels = np.stack([255 * x / width, 255 * y / height, np.where(disc, 230, 30)], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.mark.parametrize("size", [(64, 48), (33, 200), (31, 31), (8, 8), (5, 40)])
def test_image_is_squeezed_whole_into_the_square(tmp_path, size):
    whole = photograph(*size)
    whole.save(tmp_path / "a.jpg", quality=95, subsampling=0)
    wanted = np.asarray(whole.resize((8, 8), Image.Resampling.BOX), dtype=float)
    assert np.abs(data.read_file(tmp_path / "a.jpg", 8) - wanted).mean() < 10, "of 255: two ways to average"


RED = (200, 40, 60)
KINDS = {
    "photo.jpg": ("JPEG", "RGB"), "grey.jpg": ("JPEG", "L"), "print.jpg": ("JPEG", "CMYK"),
    "phone.jfif": ("JPEG", "RGB"), "no ending": ("JPEG", "RGB"), "web.webp": ("WEBP", "RGB"),
    "scan.tif": ("TIFF", "RGB"), "clear.PNG": ("PNG", "RGBA"), "table.png": ("PNG", "P"),
    "table.gif": ("GIF", "P"), "table.bmp": ("BMP", "P"), "plain.bmp": ("BMP", "RGB"),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_image_becomes_rgb(images_in, name):
    folder = images_in(train=dict(cat=1), validation=dict(cat=1), test=dict(cat=0))
    kind, mode = KINDS[name]
    image = Image.new("RGB", (5, 5), RED)
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    image.save(folder / "test" / "cat" / name, kind)
    found = data.find_images(folder)
    assert names(found.test) == [f"test/cat/{name}"]
    expected = (
        Image.new("RGB", (1, 1), RED).convert("L").convert("RGB") if mode == "L" else Image.new("RGB", (1, 1), RED)
    )
    np.testing.assert_allclose(data.read(found.test, 4), np.broadcast_to(expected, (1, 4, 4, 3)), atol=4)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_reduced_to_eight_rather_than_cut_off(tmp_path, name):
    Image.fromarray(np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)).save(tmp_path / name)
    np.testing.assert_allclose(data.read_file(tmp_path / name, 8).ravel()[::3], np.linspace(0, 255, 64), atol=1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_as_the_camera_was_held(tmp_path, orientation):
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that a camera's sensor saw
    upright = photograph(32, 32)
    seen = upright.transpose(Image.Transpose(turns[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    seen.save(tmp_path / "a.jpg", quality=98, subsampling=0, exif=exif)
    difference = data.read_file(tmp_path / "a.jpg", 32).astype(int) - np.asarray(upright)
    assert np.abs(difference).mean() < 4


@pytest.mark.parametrize("seed", [None, 3])
def test_kept_in_memory_or_not_a_pipeline_gives_the_same(images_in, monkeypatch, seed):
    images = data.find_images(images_in(train=dict(a=9, b=8), validation=dict(a=1, b=1), test=dict(a=1, b=1))).train
    epochs = []
    for most in (data.MOST_KEPT_BYTES, 0):
        monkeypatch.setattr(data, "MOST_KEPT_BYTES", most)
        pipeline = data.pipeline(images, 8, 4, shuffle_seed=seed)
        epochs.append([batches_of(pipeline) for _ in range(2)])
    for kept, anew in zip(*epochs, strict=True):
        np.testing.assert_array_equal(kept[0], anew[0])
        np.testing.assert_array_equal(kept[1], anew[1])


@pytest.fixture
def files_read(monkeypatch) -> list[str]:
    """The files that were read, in order."""
    files, read_file = [], data.read_file
    monkeypatch.setattr(data, "read_file", lambda path, size: files.append(str(path)) or read_file(path, size))
    return files


@pytest.mark.parametrize(("most", "n_read"), [(10**6, 7), (0, 14)])
def test_small_set_is_read_once_and_a_large_one_in_each_epoch(tiny_set, monkeypatch, files_read, most, n_read):
    monkeypatch.setattr(data, "MOST_KEPT_BYTES", most)
    images = data.find_images(tiny_set).train
    files_read.clear()
    pipeline = data.pipeline(images, 8)
    for _ in range(2):
        batches_of(pipeline)
    assert len(files_read) == n_read


def test_shuffling_is_reproducible_and_anew_each_epoch(images_in):
    images = data.find_images(images_in(train=dict(a=30), validation=dict(a=1), test=dict(a=1))).train
    images = dataclasses.replace(images, labels=np.arange(30))  # a label tells the file
    first, again, other = (data.pipeline(images, 4, shuffle_seed=seed) for seed in (1, 1, 2))
    epochs = [batches_of(first)[1].tolist() for _ in range(2)]
    assert [batches_of(again)[1].tolist() for _ in range(2)] == epochs
    assert epochs[0] != epochs[1]
    assert batches_of(other)[1].tolist() not in epochs
    assert all(sorted(order) == list(range(30)) for order in epochs)
    assert all(max(order[:10]) > 20 for order in epochs)  # from all of the files, not from the next few
    assert batches_of(data.pipeline(images, 4))[1].tolist() == list(range(30))


# Finding images


def test_splits_hold_the_files_of_their_folders_with_the_classes_as_labels(tiny_set, capsys):
    found = data.find_images(tiny_set)
    assert found.class_names == ("cat", "dog")
    assert names(found.validation) == [f"validation/{f}.jpg" for f in ("cat/00", "cat/01", "dog/00", "dog/01")]
    assert found.validation.labels.tolist() == [0, 0, 1, 1]
    assert found.counts().to_dict("list") == {"train": [4, 3, 7], "validation": [2, 2, 4], "test": [1, 2, 3]}
    assert list(found.counts().index) == ["cat", "dog", "total"]
    assert found.skipped == ()
    assert capsys.readouterr().out == ""
    assert data.find_images(tiny_set, ["dog", "cat"]).class_names == ("cat", "dog")


def test_what_is_no_readable_image_is_named_counted_and_left_out(tiny_set, capsys):
    cat, dog = tiny_set / "train" / "cat", tiny_set / "train" / "dog"
    (cat / "empty.jpg").touch()
    (cat / "phone.heic").write_bytes(b"\x00\x00\x00\x18ftypheic")
    (cat / "notes.txt").write_text("no image")
    (cat / "half.jpg").write_bytes((cat / "00.jpg").read_bytes()[:-60])
    (cat / "folder.jpg").mkdir()
    (cat / "loop.jpg").symlink_to(cat / "loop.jpg")
    os.mkfifo(cat / "pipe.jpg")
    Image.fromarray(np.ones((4, 4), np.float32)).save(cat / "heights.tif")
    shutil.copytree(cat, dog / "more", symlinks=True, ignore=lambda *_: ["pipe.jpg"])
    shutil.copy(cat / "00.jpg", tiny_set / "train" / "flat.jpg")
    (cat / ".DS_Store").touch()
    found = data.find_images(tiny_set)
    in_cat = ("empty.jpg", "folder.jpg", "half.jpg", "heights.tif", "loop.jpg", "notes.txt", "phone.heic", "pipe.jpg")
    bad = {*(f"train/cat/{name}" for name in in_cat), "train/dog/more", "train/flat.jpg"}
    assert {Path(path).as_posix() for path in found.skipped} == bad
    assert found.counts().loc["total"].to_dict() == {"train": 7, "validation": 4, "test": 3}
    printed = capsys.readouterr().out
    assert printed.startswith("Left out 10 files or folders of set that are not readable images: ")
    assert all(str(Path(name)) in printed for name in bad)
    assert printed.count("\n") == 1


def test_long_list_of_what_is_left_out_is_cut_short(tiny_set, capsys):
    for i in range(15):
        (tiny_set / "train" / "cat" / f"bad{i:02d}.jpg").touch()
    assert len(data.find_images(tiny_set).skipped) == 15
    assert capsys.readouterr().out.endswith("bad11.jpg and 3 more.\n")


def test_names_that_are_no_utf8_are_read_and_shown(tiny_set, capsys):
    good, bad = (os.fsdecode(name) for name in (b"caf\xe9.jpg", b"th\xe9.jpg"))
    try:
        shutil.copy(tiny_set / "test" / "cat" / "00.jpg", tiny_set / "test" / "cat" / good)
    except OSError:
        pytest.skip("this system's file names are all UTF-8")
    (tiny_set / "test" / "cat" / bad).touch()
    images = data.find_images(tiny_set).test
    assert "th\\udce9.jpg" in capsys.readouterr().out
    np.testing.assert_array_equal(batches_of(data.pipeline(images, 8))[0], data.read(images, 8))
    assert names(images).count(f"test/cat/{good}") == 1


def test_hidden_folders_and_those_of_zip_programs_are_no_classes(tiny_set, capsys):
    for split in data.SPLITS:
        for name in (".cache", "__MACOSX"):
            (tiny_set / split / name).mkdir()
    assert data.find_images(tiny_set).class_names == ("cat", "dog")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["val", "valid"])
def test_validation_may_be_called_otherwise_but_not_twice(tiny_set, name):
    (tiny_set / "validation").rename(tiny_set / name)
    found = data.find_images(tiny_set)
    assert names(found.validation) == [f"{name}/{f}.jpg" for f in ("cat/00", "cat/01", "dog/00", "dog/01")]
    (tiny_set / "validation").mkdir()
    with pytest.raises(ValueError, match=f"holds both validation/ and {name}/: keep one of them"):
        data.find_images(tiny_set)


def test_missing_splits_are_drawn_from_train_class_by_class(images_in):
    folder = images_in(train=dict(cat=20, dog=10, fox=3))
    found, again, other = (data.find_images(folder, seed=seed) for seed in (0, 0, 1))
    # a fifth for test, then a fifth of what is left for validation, at least one image
    table = found.counts().drop("total")
    assert table.to_dict("list") == {"train": [13, 6, 1], "validation": [3, 2, 1], "test": [4, 2, 1]}
    drawn = [set(names(getattr(found, split))) for split in data.SPLITS]
    assert len(set.union(*drawn)) == 33
    assert names(found.test) == names(again.test) != names(other.test)
    assert names(found.validation) == names(again.validation)
    assert names(found.test)[:4] != [f"train/cat/{i:02d}.jpg" for i in range(4)]  # not the first ones


def test_files_that_are_no_images_take_no_place_in_a_drawn_split(images_in):
    folder = images_in(train=dict(cat=4, dog=4))
    for name in ("cat", "dog"):
        (folder / "train" / name / "Thumbs.db").write_text("no image")
    for seed in range(10):
        found = data.find_images(folder, seed=seed)
        assert found.counts().drop("total").to_dict("list") == {"train": [2, 2], "validation": [1, 1], "test": [1, 1]}
        assert len(found.skipped) == 2


def test_only_the_missing_split_is_drawn(images_in):
    found = data.find_images(images_in(train=dict(cat=10, dog=10), test=dict(cat=3, dog=3)))
    assert found.counts().loc["total"].to_dict() == {"train": 16, "validation": 4, "test": 6}
    assert all(name.startswith("test/") for name in names(found.test))
    assert all(name.startswith("train/") for name in names(found.validation))


def train_without_classes(folder):
    for path in (folder / "train").iterdir():
        shutil.rmtree(path)


def train_with_flat_images(folder):
    train_without_classes(folder)
    shutil.copy(folder / "test" / "cat" / "00.jpg", folder / "train")


def class_of_one_to_be_split(folder):
    shutil.rmtree(folder / "test")
    (folder / "train" / "dog" / "00.jpg").unlink()
    (folder / "train" / "dog" / "01.jpg").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "train"), "train is missing: a data set has train/"),
        (train_without_classes, "train holds no folder: put the images of each class into a folder of its own"),
        (train_with_flat_images, "train holds no folder: put the images of each class into a folder of its own"),
        (lambda folder: shutil.rmtree(folder / "test" / "dog"), "test lacks the class folder 'dog': it must hold cat,"),
        (lambda folder: (folder / "test" / "bird").mkdir(), "test holds 'bird', which is no class of this set: move"),
        (lambda folder: (folder / "test" / "cat" / "00.jpg").write_bytes(b""), "no image of 'cat' for test: add some"),
        (class_of_one_to_be_split, "no image of 'dog' for train: add some"),
    ],
)
def test_set_that_cannot_be_used_says_what_is_wrong(tiny_set, spoil, message):
    spoil(tiny_set)
    with pytest.raises(ValueError, match=message):
        data.find_images(tiny_set)


# Limits


def test_per_class_leaves_as_many_of_each_class_or_all_in_the_named_splits_alone(images_in):
    folder = images_in(train=dict(cat=12, dog=5), validation=dict(cat=5, dog=6), test=dict(cat=3, dog=4))
    found = data.find_images(folder, per_class=dict(train=6, test=2))
    table = found.counts().drop("total")
    assert table.to_dict("list") == {"train": [6, 5], "validation": [5, 6], "test": [2, 2]}
    assert [found.class_names[label] for label in found.train.labels] == [n.split("/")[1] for n in names(found.train)]


def test_per_class_draws_by_the_seed_alone_and_keeps_the_order(images_in):
    folder = images_in(train=dict(cat=20, dog=20), validation=dict(cat=1, dog=1), test=dict(cat=1, dog=1))
    first, again, other = (names(data.find_images(folder, seed=s, per_class=dict(train=8)).train) for s in (0, 0, 1))
    assert first == again == sorted(first) != other
    assert first != [f"train/{label}/{i:02d}.jpg" for label in ("cat", "dog") for i in range(8)]  # not the first ones


def test_per_class_is_applied_to_splits_after_they_are_drawn(images_in):
    folder = images_in(train=dict(cat=20, dog=20))
    whole, limited = (data.find_images(folder, per_class=most) for most in (None, dict(train=6, validation=2, test=3)))
    assert limited.counts().loc["total"].to_dict() == {"train": 12, "validation": 4, "test": 6}
    for split in data.SPLITS:  # so the three are disjoint too
        assert set(names(getattr(limited, split))) < set(names(getattr(whole, split)))


def test_only_the_images_that_are_kept_are_read(images_in, files_read):
    folder = images_in(train=dict(cat=40, dog=40))
    data.find_images(folder, per_class=dict(train=3, validation=2, test=1))
    assert len(files_read) == 12


def test_limit_is_reached_although_many_images_do_not_decode(images_in):
    folder = images_in(train=dict(cat=10, dog=10), validation=dict(cat=1, dog=1), test=dict(cat=1, dog=1))
    for i in range(6):
        (folder / "train" / "cat" / f"bad{i}.jpg").touch()
    for seed in range(5):
        found = data.find_images(folder, seed=seed, per_class=dict(train=9))
        assert found.counts()["train"].tolist() == [9, 9, 18]
        assert not any("bad" in name for name in names(found.train))


@pytest.mark.parametrize("per_class", [{"val": 3}, {"train": 0}])
def test_impossible_limit_is_refused(tiny_set, per_class):
    with pytest.raises(ValueError, match="is no limit"):
        data.find_images(tiny_set, per_class=per_class)


# Drawing and comparing


@pytest.fixture
def drawable() -> data.Images:
    labels = np.repeat([0, 1, 2], [12, 10, 15])
    return data.Images(np.array([f"{i}.jpg" for i in range(37)]), labels, ("a", "b", "c"))


def test_sum_holds_the_first_images_then_the_others(drawable):
    first, others = drawable.select([3, 20]), drawable.select([0])
    together = first + others
    assert (together.paths.tolist(), together.labels.tolist()) == (["3.jpg", "20.jpg", "0.jpg"], [0, 1, 0])
    assert together.class_names == drawable.class_names


def test_data_set_is_told_in_a_line_by_its_numbers_of_images_and_classes(drawable):
    dataset = data.Dataset(drawable, drawable.select([3, 20]), drawable.select([0]))
    assert str(dataset) == "37 / 2 / 1 (training / validation / test), 3 classes"


def test_draw_takes_as_many_of_each_class_and_mixes_them(drawable):
    drawn = drawable.draw(5, seed=1)
    assert np.bincount(drawn.labels).tolist() == [5, 5, 5]
    assert len(set(drawn.paths)) == 15
    assert drawn.labels.tolist() != sorted(drawn.labels)
    assert [drawable.labels[int(path[:-4])] for path in drawn.paths] == drawn.labels.tolist()
    assert drawn.paths.tolist() == drawable.draw(5, seed=1).paths.tolist()
    assert set(drawn.paths) != set(drawable.draw(5, seed=2).paths)


def test_draws_with_one_seed_are_nested(drawable):
    sets = [set(drawable.draw(n, seed=3).paths) for n in (1, 2, 5, 10)]
    assert sets[0] < sets[1] < sets[2] < sets[3]


@pytest.mark.parametrize("per_class", [0, 11])
def test_draw_of_more_than_the_smallest_class_has_says_what_there_is(drawable, per_class):
    with pytest.raises(ValueError, match=f"{per_class} images per class were asked for: choose between 1 and 10"):
        drawable.draw(per_class, seed=0)


def test_same_file_in_two_splits_is_paired_with_where_it_was_first(tiny_set):
    assert data.duplicates_across_splits(data.find_images(tiny_set)) == []
    first, copies = "train/cat/00.jpg", ("validation/cat/a.jpg", "test/cat/b.jpg", "test/dog/c.jpg")
    for target in (*copies, "train/dog/no pair within one split.jpg"):
        shutil.copy(tiny_set / first, tiny_set / target)
    pairs = data.duplicates_across_splits(data.find_images(tiny_set))
    assert [tuple(Path(p).relative_to(tiny_set).as_posix() for p in pair) for pair in pairs] == [
        (first, copy) for copy in copies
    ]


# A lesson's data set


@pytest.fixture
def course_data(monkeypatch, tmp_path) -> Path:
    (tmp_path / "sets").mkdir()
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "sets"))
    monkeypatch.setattr(downloads, "fetch", lambda name: pytest.fail("downloads"))
    return tmp_path / "sets"


def test_sample_run_reads_the_embedded_images_whatever_course_data_says(course_data):
    assert data.folder_of(lessons.settings("02", "sample")) == config.SAMPLES / "groceries"


def test_load_applies_the_limits_of_the_settings_with_its_seed():
    settings = dataclasses.replace(lessons.settings("05-beans", "sample"), per_class=dict.fromkeys(data.SPLITS, 3))
    first, again, other = (data.load(settings, seed) for seed in (0, 0, 1))
    assert set(first.counts().drop("total").to_numpy().flat) == {3}
    assert names(first.train) == names(again.train) != names(other.train)


def test_full_run_reads_the_folder_of_the_set_in_course_data(course_data, images_in):
    classes = downloads.describe("food10")["classes"]
    images_in(train=dict.fromkeys(classes, 3)).rename(course_data / "food10")
    found = data.load(lessons.settings("02", "full"))
    assert found.class_names == tuple(classes)
    assert len(found.train) == 10
    shutil.rmtree(course_data / "food10" / "train" / "pizza")
    with pytest.raises(ValueError, match="lacks the class folder 'pizza'"):
        data.load(lessons.settings("02", "full"))


def test_course_data_without_the_set_says_what_was_looked_for(course_data):
    with pytest.raises(ValueError, match="COURSE_DATA holds no folder food10/train: looked in ") as error:
        data.load(lessons.settings("02", "full"))
    assert str(course_data) in str(error.value)


def test_full_run_without_course_data_downloads_the_set(monkeypatch, tmp_path):
    monkeypatch.setattr(downloads, "fetch", lambda name: tmp_path / name)
    assert data.folder_of(lessons.settings("02", "full")) == tmp_path / "food10"
