import errno
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pooch
import pytest
import tensorflow as tf
from PIL import Image

from helpers import config, data, downloads


def names(images: data.Images) -> list[str]:
    return [str(Path(*Path(path).parts[-3:]).as_posix()) for path in images.paths]


def read_all(pipeline) -> tuple[np.ndarray, np.ndarray]:
    pixels, labels = zip(*pipeline.as_numpy_iterator(), strict=True)
    return np.concatenate(pixels), np.concatenate(labels)


def label_order(pipeline) -> list[int]:
    return [int(label) for _, labels in pipeline.as_numpy_iterator() for label in labels]


def test_splits_hold_the_files_of_their_folders_with_the_classes_as_labels(tiny_set):
    found = data.find_images(tiny_set)
    assert found.class_names == ("cat", "dog")
    assert names(found.validation) == [f"validation/{f}.jpg" for f in ("cat/00", "cat/01", "dog/00", "dog/01")]
    assert found.validation.labels.tolist() == [0, 0, 1, 1]
    assert found.skipped == ()


def test_counts_are_by_class_and_split_with_totals(tiny_set):
    table = data.find_images(tiny_set).counts()
    assert list(table.index) == ["cat", "dog", "total"]
    assert table.to_dict("list") == {"train": [4, 3, 7], "validation": [2, 2, 4], "test": [1, 2, 3]}


def test_nothing_is_said_where_every_image_decodes(tiny_set, capsys):
    data.find_images(tiny_set)
    assert capsys.readouterr().out == ""


def test_pipeline_gives_raw_rgb_in_the_order_of_the_files(tiny_set):
    images = data.find_images(tiny_set).train
    batches = list(data.pipeline(images, image_size=8, batch_size=3).as_numpy_iterator())
    assert [pixels.shape for pixels, _ in batches] == [(3, 8, 8, 3), (3, 8, 8, 3), (1, 8, 8, 3)]
    assert {(pixels.dtype, labels.dtype) for pixels, labels in batches} == {(np.dtype("f4"), np.dtype("i8"))}
    pixels, labels = read_all(data.pipeline(images, image_size=8))
    assert labels.tolist() == images.labels.tolist()
    expected = [np.asarray(Image.open(path), dtype=float).mean(axis=(0, 1)) for path in images.paths]
    # files of one colour: resizing changes nothing, two JPEG decoders differ by a step or two
    np.testing.assert_allclose(pixels.mean(axis=(1, 2)), expected, atol=2)


def test_pipeline_keeps_the_range_of_bytes(tiny_set):
    Image.new("RGB", (8, 8), "white").save(tiny_set / "test" / "cat" / "00.jpg")
    pixels, _ = read_all(data.pipeline(data.find_images(tiny_set).test, image_size=6))
    assert pixels[0].min() == 255.0


def test_pipeline_squeezes_a_wide_image_whole_into_the_square(images_in):
    folder = images_in(train=dict(cat=3), validation=dict(cat=1), test=dict(cat=1))
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, :20, 0] = wide[:, 20:, 2] = 255  # red left of blue
    Image.fromarray(wide).save(folder / "test" / "cat" / "00.png")
    (folder / "test" / "cat" / "00.jpg").unlink()
    pixels, _ = read_all(data.pipeline(data.find_images(folder).test, image_size=10))
    np.testing.assert_array_equal(pixels[0, 5, 0], [255, 0, 0])
    np.testing.assert_array_equal(pixels[0, 5, -1], [0, 0, 255])


def photograph(path, width, height, **options):
    """A JPEG with a smooth gradient and a bright disc, so that scaling it down keeps it recognisable."""
    y, x = np.mgrid[0:height, 0:width]
    disc = (x / width - 0.4) ** 2 + (y / height - 0.6) ** 2 < 0.04
    pixels = np.stack([255 * x / width, 255 * y / height, np.where(disc, 230, 30)], axis=-1)
    Image.fromarray(pixels.astype(np.uint8)).save(path, quality=95, subsampling=0, **options)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (33, 200), (31, 31), (8, 8), (5, 40), (40, 17)])
def test_large_jpegs_scaled_down_by_the_decoder_show_the_same(tiny_set, width, height):
    path = tiny_set / "test" / "cat" / "00.jpg"
    photograph(path, width, height)
    pixels, _ = read_all(data.pipeline(data.find_images(tiny_set).test, image_size=8))
    with Image.open(path) as image:
        wanted = np.asarray(image.resize((8, 8), Image.Resampling.BOX), dtype=float)
    assert np.abs(pixels[0] - wanted).mean() < 12, "of 255: two ways to average, on a disc with hard edges"


@pytest.mark.parametrize(
    ("width", "height", "decoded"),
    [(64, 48, (12, 16)), (15, 100, (100, 15)), (16, 16, (8, 8)), (130, 130, (17, 17)), (8, 7, (7, 8))],
)
def test_decoder_scales_by_a_power_of_two_that_leaves_the_size_or_more(tmp_path, width, height, decoded):
    path = tmp_path / "a.jpg"
    photograph(path, width, height)
    assert data._decoded(path.read_bytes(), 8).shape == (*decoded, 3)


def test_png_is_decoded_whole(tmp_path):
    Image.new("RGB", (64, 48), "red").save(tmp_path / "a.png")
    assert data._decoded((tmp_path / "a.png").read_bytes(), 8).shape == (48, 64, 3)


@pytest.mark.parametrize("seed", [None, 3])
def test_kept_in_memory_or_not_a_pipeline_gives_the_same(images_in, monkeypatch, seed):
    images = data.find_images(images_in(train=dict(a=9, b=8), validation=dict(a=1, b=1), test=dict(a=1, b=1))).train
    read = []
    for most in (data.MOST_KEPT_BYTES, 0):
        monkeypatch.setattr(data, "MOST_KEPT_BYTES", most)
        images_pipeline = data.pipeline(images, 8, 4, shuffle_seed=seed)
        read.append([read_all(images_pipeline) for _ in range(2)])
    for kept, anew in zip(*read, strict=True):
        np.testing.assert_array_equal(kept[0], anew[0])
        np.testing.assert_array_equal(kept[1], anew[1])


@pytest.mark.parametrize(("most", "decoded"), [(10**6, 7), (0, 14)])
def test_small_set_is_decoded_once_and_a_large_one_in_each_epoch(tiny_set, monkeypatch, most, decoded):
    monkeypatch.setattr(data, "MOST_KEPT_BYTES", most)
    seen, decode = [], data._decoded

    def counting(content, image_size):
        tf.py_function(seen.append, [0], [])
        return decode(content, image_size)

    monkeypatch.setattr(data, "_decoded", counting)
    images = data.pipeline(data.find_images(tiny_set).train, 8)
    for _ in range(2):
        read_all(images)
    assert len(seen) == decoded


@pytest.mark.parametrize(
    ("name", "mode"), [("grey.jpg", "L"), ("palette.gif", "P"), ("plain.bmp", "RGB"), ("a.PNG", "RGBA")]
)
def test_every_kind_of_image_becomes_rgb(images_in, name, mode):
    folder = images_in(train=dict(cat=3), validation=dict(cat=1), test=dict(cat=1))
    Image.new("RGB", (5, 5), (200, 200, 200)).convert(mode).save(folder / "test" / "cat" / name)
    found = data.find_images(folder)
    assert found.skipped == ()
    assert f"test/cat/{name}" in names(found.test)
    pixels, _ = read_all(data.pipeline(found.test, image_size=5))
    assert pixels.shape == (2, 5, 5, 3)
    position = names(found.test).index(f"test/cat/{name}")
    np.testing.assert_allclose(pixels[position], 200, atol=5)  # the nearest grey in the palette is 204


def test_shuffling_is_reproducible_and_anew_each_epoch(images_in):
    folder = images_in(train=dict(cat=15, dog=15), validation=dict(cat=1, dog=1), test=dict(cat=1, dog=1))
    images = data.find_images(folder).train
    images = data.Images(images.paths, np.arange(len(images)), images.class_names)  # a label tells the file
    first, again, other = (data.pipeline(images, 4, shuffle_seed=seed) for seed in (1, 1, 2))
    epochs = [label_order(first) for _ in range(2)]
    assert [label_order(again) for _ in range(2)] == epochs
    assert epochs[0] != epochs[1]
    assert label_order(other) not in epochs
    for order in epochs:
        assert order != sorted(order)
        assert sorted(order) == list(range(30))
    assert label_order(data.pipeline(images, 4)) == list(range(30))


def test_missing_splits_are_drawn_from_train_class_by_class(images_in):
    found = data.find_images(images_in(train=dict(cat=20, dog=10)))
    table = found.counts()
    # a fifth of 20 and 10 for test, then a fifth of the 16 and 8 that are left for validation
    assert table.loc["cat"].to_dict() == {"train": 13, "validation": 3, "test": 4}
    assert table.loc["dog"].to_dict() == {"train": 6, "validation": 2, "test": 2}
    drawn = [set(images.paths) for images in (found.train, found.validation, found.test)]
    assert len(set.union(*drawn)) == sum(map(len, drawn)) == 30


def test_only_the_missing_split_is_drawn(images_in):
    found = data.find_images(images_in(train=dict(cat=10, dog=10), test=dict(cat=3, dog=3)))
    assert found.counts().loc["total"].to_dict() == {"train": 16, "validation": 4, "test": 6}
    assert all(name.startswith("test/") for name in names(found.test))
    assert all(name.startswith("train/") for name in names(found.validation))


def test_draw_of_missing_splits_depends_on_the_seed_alone(images_in):
    folder = images_in(train=dict(cat=20, dog=20))
    first, again, other = (data.find_images(folder, seed=seed) for seed in (0, 0, 1))
    assert names(first.test) == names(again.test)
    assert names(first.validation) == names(again.validation)
    assert names(first.test) != names(other.test)
    assert names(first.test) != sorted(names(first.train) + names(first.test))[: len(first.test)]


def test_drawn_splits_have_an_image_of_a_class_of_three(images_in):
    found = data.find_images(images_in(train=dict(cat=3, dog=20)))
    assert found.counts().loc["cat"].to_dict() == {"train": 1, "validation": 1, "test": 1}


@pytest.mark.parametrize("lesson", config.LESSONS)
def test_sample_splits_share_no_image(lesson):
    found = data.load(config.settings(lesson, "sample"))
    hashes = {
        split: {hashlib.sha256(Path(p).read_bytes()).hexdigest() for p in getattr(found, split).paths}
        for split in data.SPLITS
    }
    assert min(map(len, hashes.values())) >= 45  # beans has the fewest, 15 of 3 classes
    assert len(set.union(*hashes.values())) == sum(map(len, hashes.values()))
    assert data.in_two_splits(found) == []


def copy(folder: Path, source: str, *targets: str) -> None:
    for target in targets:
        shutil.copy(folder / source, folder / target)


def pairs_in(folder: Path) -> list[tuple[str, ...]]:
    pairs = data.in_two_splits(data.find_images(folder))
    return [tuple(Path(path).relative_to(folder).as_posix() for path in pair) for pair in pairs]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("train/cat/01.jpg", "test/cat/other name.jpg"),
        ("train/dog/02.jpg", "validation/cat/as a cat.jpg"),
        ("validation/cat/00.jpg", "test/dog/02.jpeg"),
    ],
)
def test_image_of_another_name_in_another_split_is_found(tiny_set, source, target):
    assert pairs_in(tiny_set) == []
    copy(tiny_set, source, target)
    assert pairs_in(tiny_set) == [(source, target)]


def test_image_in_three_splits_is_paired_with_where_it_was_first(tiny_set):
    copy(tiny_set, "train/cat/00.jpg", "test/cat/b.jpg", "test/dog/c.jpg", "validation/cat/a.jpg")
    first = "train/cat/00.jpg"
    assert pairs_in(tiny_set) == [(first, "validation/cat/a.jpg"), (first, "test/cat/b.jpg"), (first, "test/dog/c.jpg")]


def test_image_twice_in_one_split_is_no_pair(tiny_set):
    copy(tiny_set, "train/cat/00.jpg", "train/cat/again.jpg", "train/dog/again.jpg")
    assert pairs_in(tiny_set) == []


def test_file_of_the_same_name_is_no_pair(tiny_set):
    assert (tiny_set / "train/cat/00.jpg").read_bytes() != (tiny_set / "test/cat/00.jpg").read_bytes()
    assert pairs_in(tiny_set) == []


def test_drawn_splits_share_no_image(images_in):
    assert pairs_in(images_in(train=dict(cat=20, dog=10))) == []


def test_per_class_leaves_as_many_of_each_class_in_the_named_splits_alone(images_in):
    folder = images_in(train=dict(cat=12, dog=8), validation=dict(cat=5, dog=6), test=dict(cat=3, dog=4))
    table = data.find_images(folder, per_class=dict(train=6, test=2)).counts()
    assert table.loc["cat"].to_dict() == {"train": 6, "validation": 5, "test": 2}
    assert table.loc["dog"].to_dict() == {"train": 6, "validation": 6, "test": 2}


def test_per_class_takes_all_of_a_class_that_has_fewer(images_in):
    folder = images_in(train=dict(cat=9, dog=3), validation=dict(cat=2, dog=2), test=dict(cat=2, dog=2))
    found = data.find_images(folder, per_class=dict(train=5, validation=2, test=100))
    assert found.counts().to_dict("list") == {"train": [5, 3, 8], "validation": [2, 2, 4], "test": [2, 2, 4]}
    assert names(found.train)[5:] == [f"train/dog/0{i}.jpg" for i in range(3)]


def test_per_class_draws_by_the_seed_alone_and_keeps_the_order(images_in):
    folder = images_in(train=dict(cat=20, dog=20), validation=dict(cat=1, dog=1), test=dict(cat=1, dog=1))
    first, again, other = (names(data.find_images(folder, seed=s, per_class=dict(train=8)).train) for s in (0, 0, 1))
    assert first == again == sorted(first)
    assert first != other
    assert len(set(first)) == 16
    assert first != [f"train/{label}/{i:02d}.jpg" for label in ("cat", "dog") for i in range(8)]  # not the first ones


def test_per_class_labels_stay_with_their_files(images_in):
    folder = images_in(train=dict(cat=10, dog=10), validation=dict(cat=5, dog=5), test=dict(cat=5, dog=5))
    found = data.find_images(folder, per_class=dict.fromkeys(data.SPLITS, 3))
    for split in data.SPLITS:
        images = getattr(found, split)
        assert [found.class_names[label] for label in images.labels] == [Path(p).parent.name for p in images.paths]


def test_per_class_is_applied_to_splits_after_they_are_drawn(images_in):
    folder = images_in(train=dict(cat=20, dog=20))
    whole = data.find_images(folder)
    limited = data.find_images(folder, per_class=dict(train=6, validation=2, test=3))
    assert limited.counts().loc["total"].to_dict() == {"train": 12, "validation": 4, "test": 6}
    for split in data.SPLITS:  # so the three are disjoint too
        assert set(names(getattr(limited, split))) < set(names(getattr(whole, split)))


def test_load_applies_the_limits_of_the_settings_with_its_seed(monkeypatch):
    monkeypatch.setenv("COURSE_LIMIT", "3")
    settings = config.settings("05-beans", "sample")
    first, again, other = (data.load(settings, seed) for seed in (0, 0, 1))
    assert set(first.counts().drop("total").to_numpy().flat) == {3}
    assert names(first.train) == names(again.train)
    assert names(first.train) != names(other.train)


def test_images_that_do_not_decode_are_named_counted_and_left_out(tiny_set, capsys):
    (tiny_set / "train" / "cat" / "empty.jpg").touch()
    (tiny_set / "train" / "dog" / "text.png").write_text("no image")
    cut = (tiny_set / "test" / "dog" / "01.jpg").read_bytes()[:60]
    (tiny_set / "test" / "dog" / "01.jpg").write_bytes(cut)
    found = data.find_images(tiny_set)
    bad = [str(Path(p)) for p in ("train/cat/empty.jpg", "train/dog/text.png", "test/dog/01.jpg")]
    assert capsys.readouterr().out == f"Left out 3 of 16 images that do not decode: {', '.join(bad)}.\n"
    assert found.skipped == tuple(bad)
    assert found.counts().loc["total"].to_dict() == {"train": 7, "validation": 4, "test": 2}
    assert not set(bad) & set(names(found.train) + names(found.test))


def test_long_list_of_images_that_do_not_decode_is_cut_short(tiny_set, capsys):
    for i in range(15):
        (tiny_set / "train" / "cat" / f"bad{i:02d}.jpg").touch()
    assert len(data.find_images(tiny_set).skipped) == 15
    printed = capsys.readouterr().out
    assert printed.endswith("bad11.jpg and 3 more.\n")
    assert printed.startswith("Left out 15 of 29 ")


def test_files_that_are_no_images_and_hidden_folders_are_not_looked_at(tiny_set, capsys):
    (tiny_set / "train" / "cat" / "Thumbs.db").touch()
    (tiny_set / "train" / "notes.txt").touch()
    (tiny_set / "train" / ".cache").mkdir()
    found = data.find_images(tiny_set)
    assert capsys.readouterr().out == ""
    assert found.class_names == ("cat", "dog")
    assert len(found.train) == 7


def test_missing_train_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"train is missing: a data set has train/"):
        data.find_images(tmp_path)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_missing_class_folder_is_named(tiny_set, split):
    (tiny_set / split / "dog").rename(tiny_set / "dog")
    with pytest.raises(ValueError, match=rf"{split} lacks the class folder 'dog': it must hold cat, dog"):
        data.find_images(tiny_set)


def test_missing_class_folder_is_named_where_the_classes_are_known(tiny_set):
    with pytest.raises(ValueError, match="lacks the class folder 'bird': it must hold bird, cat, dog"):
        data.find_images(tiny_set, ["dog", "cat", "bird"])


def test_classes_are_sorted_however_they_are_listed(tiny_set):
    assert data.find_images(tiny_set, ["dog", "cat"]).class_names == ("cat", "dog")


def test_extra_class_folder_is_named(tiny_set):
    (tiny_set / "test" / "bird").mkdir()
    with pytest.raises(ValueError, match="test holds 'bird', which is no class of this set"):
        data.find_images(tiny_set)


@pytest.mark.parametrize("split", data.SPLITS)
def test_class_without_an_image_is_named(tiny_set, split):
    for file in (tiny_set / split / "dog").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=f"has no image of 'dog' for {split}"):
        data.find_images(tiny_set)


def test_class_too_small_to_be_split_is_named(images_in):
    with pytest.raises(ValueError, match=r"has no image of 'cat' for validation|has no image of 'cat' for train"):
        data.find_images(images_in(train=dict(cat=1, dog=9)))


def test_class_whose_images_do_not_decode_is_named(tiny_set):
    (tiny_set / "test" / "cat" / "00.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="has no image of 'cat' for test"):
        data.find_images(tiny_set)


@pytest.fixture
def drawable() -> data.Images:
    labels = np.repeat([0, 1, 2], [12, 10, 15])
    return data.Images(np.array([f"{i}.jpg" for i in range(37)]), labels, ("a", "b", "c"))


def test_draw_takes_as_many_of_each_class_without_repeating_one(drawable):
    drawn = drawable.draw(5, seed=0)
    assert np.bincount(drawable.labels[drawn]).tolist() == [5, 5, 5]
    assert len(set(drawn.tolist())) == 15


def test_draw_mixes_the_classes(drawable):
    labels = drawable.labels[drawable.draw(10, seed=0)].tolist()
    assert labels != sorted(labels)


def test_draws_with_one_seed_are_nested(drawable):
    sets = [set(drawable.draw(n, seed=3).tolist()) for n in (1, 2, 5, 10)]
    assert sets[0] < sets[1] < sets[2] < sets[3]


def test_draw_depends_on_the_seed_alone(drawable):
    assert drawable.draw(5, seed=1).tolist() == drawable.draw(5, seed=1).tolist()
    assert set(drawable.draw(5, seed=1).tolist()) != set(drawable.draw(5, seed=2).tolist())


@pytest.mark.parametrize("per_class", [0, 11])
def test_draw_of_more_than_the_smallest_class_has_says_what_there_is(drawable, per_class):
    with pytest.raises(ValueError, match=f"{per_class} images a class were asked for: choose between 1 and 10"):
        drawable.draw(per_class, seed=0)


def test_select_keeps_paths_and_labels_together(drawable):
    chosen = drawable.select(np.array([36, 0, 12]))
    assert chosen.paths.tolist() == ["36.jpg", "0.jpg", "12.jpg"]
    assert chosen.labels.tolist() == [2, 0, 1]
    assert len(chosen) == 3


def test_sample_run_reads_the_embedded_images_whatever_course_data_says(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    assert data.folder_of(config.settings("02", "sample")) == config.SAMPLES / "food10"


def test_full_run_reads_the_folder_of_the_set_in_course_data_and_downloads_nothing(monkeypatch, images_in, tmp_path):
    classes = downloads.describe("food10")["classes"]
    images_in(train=dict.fromkeys(classes, 3)).rename(tmp_path / "food10")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setattr(downloads, "fetch", lambda name: pytest.fail("downloads"))
    found = data.load(config.settings("02", "full"))
    assert found.class_names == tuple(classes)
    assert len(found.train) == 10


def test_full_run_refuses_a_set_without_the_classes_of_the_list(monkeypatch, images_in, tmp_path):
    images_in(train=dict(pizza=3, sushi=3)).rename(tmp_path / "food10")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="lacks the class folder 'chicken_curry'"):
        data.load(config.settings("02", "full"))


def test_course_data_without_the_set_says_what_was_looked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"COURSE_DATA holds no folder food10/train: looked in ") as error:
        data.load(config.settings("02", "full"))
    assert str(tmp_path) in str(error.value)


def test_full_run_without_course_data_downloads_the_set(monkeypatch, tiny_set):
    monkeypatch.setattr(downloads, "fetch", lambda name: tiny_set / name)
    assert data.folder_of(config.settings("02", "full")) == tiny_set / "food10"


def test_full_run_without_network_gives_one_sentence_with_the_other_ways(monkeypatch, tmp_path):
    def unreachable(*_args, **_kwargs):
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(pooch, "retrieve", unreachable)
    monkeypatch.setattr(downloads.fetch, "__defaults__", (tmp_path / "downloads",))
    with pytest.raises(ValueError, match=r"food10 could not be downloaded \(Network is unreachable\)") as error:
        data.load(config.settings("02", "full"))
    message = str(error.value)
    assert "COURSE_DATA" in message
    assert "COURSE_RUN=sample" in message
    assert "\n" not in message
    assert list((tmp_path / "downloads").iterdir()) == []


@pytest.mark.parametrize("per_class", [{"val": 3}, {"train": 0}, {"train": -1}])
def test_impossible_limit_is_refused(tiny_set, per_class):
    with pytest.raises(ValueError, match="is no limit"):
        data.find_images(tiny_set, per_class=per_class)
