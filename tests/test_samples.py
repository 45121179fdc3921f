"""The embedded photographs: credited, balanced, independent of one another; and the tool that makes them."""

import csv
import filecmp

import make_samples as tool
import numpy as np
import pytest
from PIL import Image

from helpers import config, folder, lessons

PIXELS = {
    "groceries": 128,
    "groceries32": 32,
    "pets": 112,
    "fruits360": 100,
    "fruits_in_shops": 100,
    "beans": 128,
    "vegetables": 128,
}
NOT_SPLIT = "vegetables"  # a folder as learners have one
SPLIT = [name for name in PIXELS if name != NOT_SPLIT]
FEWEST = {  # images per class in train, validation and test
    "groceries": (55, 15, 50),
    "groceries32": (50, 15, 50),
    "pets": (48, 16, 56),
    "fruits360": (20, 5, 10),
    "fruits_in_shops": (10, 0, 15),
    "beans": (40, 15, 42),
}
SPLITS = ("train", "validation", "test")


def files(name, split="*"):
    place = "*/*" if name == NOT_SPLIT else f"{split}/*/*"
    return [path for path in sorted((config.SAMPLES / name).glob(place)) if path.is_file()]


def credits_of(name):
    with (config.SAMPLES / name / "credits.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def hashes():
    """Set and split to the difference hashes of its files, ``(n, 256)``."""
    return {
        (name, split): np.array([tool.difference_hash(Image.open(path)) for path in files(name, split)])
        for name in SPLIT
        for split in SPLITS
    }


def test_the_samples_are_those_that_the_lessons_use():
    used = {lessons.settings(name, "sample").dataset for name in lessons.LESSONS} | {"fruits_in_shops"}
    assert used == set(PIXELS) == {path.name for path in config.SAMPLES.iterdir()}


@pytest.mark.parametrize("name", PIXELS)
def test_every_file_is_credited_and_every_credit_has_its_file(name):
    rows = credits_of(name)
    assert [row["file"] for row in rows] == sorted(p.relative_to(config.SAMPLES / name).as_posix() for p in files(name))
    assert all(row[key] for row in rows for key in ("source", "path in source", "licence", "copyright", "changes"))
    assert {row["licence"] for row in rows} == {"CC BY-SA 4.0" if name == "pets" else "MIT"}


@pytest.mark.parametrize("name", SPLIT)
def test_classes_are_balanced_and_large_enough(name):
    class_names = sorted(path.name for path in (config.SAMPLES / name / "train").iterdir())
    for split, fewest in zip(SPLITS, FEWEST[name], strict=True):
        counts = [len(list((config.SAMPLES / name / split / each).glob("*"))) for each in class_names]
        assert min(counts) >= fewest
        assert max(counts) - min(counts) <= (name == "beans" and split == "test")  # the official 128 in three classes


@pytest.mark.parametrize("name", PIXELS)
def test_pictures_are_small_rgb_squares_of_the_right_kind(name):
    for path in files(name):
        with Image.open(path) as image:
            assert image.size == (PIXELS[name], PIXELS[name])
            assert image.mode == "RGB"
            assert image.format == ("PNG" if name == "groceries32" else "JPEG")


def test_the_samples_are_small_enough_for_git():
    assert sum(path.stat().st_size for name in PIXELS for path in files(name)) <= 20e6


@pytest.mark.parametrize("name", [name for name in SPLIT if name != "fruits360"])
def test_no_picture_has_a_near_copy_in_another_split(hashes, name):
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        found = tool.distances(hashes[name, one], hashes[name, other])
        assert found.min(initial=256) >= tool.APART, f"{one} and {other}"


@pytest.mark.parametrize("name", [name for name in SPLIT if name != "fruits360"])
def test_no_two_test_pictures_are_near_copies(hashes, name):
    found = tool.distances(hashes[name, "test"], hashes[name, "test"])
    assert found[~np.eye(len(found), dtype=bool)].min() >= tool.APART


def test_the_folder_of_lesson_06_is_clean_and_shares_no_class_with_another_set():
    checked = folder.check(config.SAMPLES / NOT_SPLIT)
    assert checked.findings == ()
    assert checked.images.class_names == tuple(sorted(tool.VEGETABLES))
    counts = checked.counts()
    assert counts["images"].tolist() == counts["independent"].tolist() == [60, 60, 50, 60, 60, 60]
    others = {row["path in source"] for name in SPLIT for row in credits_of(name)}
    assert not others & {row["path in source"] for row in credits_of(NOT_SPLIT)}


def test_the_same_fruits_are_on_white_and_in_shops():
    names = [sorted(p.name for p in (config.SAMPLES / n / "test").iterdir()) for n in ("fruits360", "fruits_in_shops")]
    assert names[0] == names[1] == sorted(tool.FRUITS)


# The tool


@pytest.fixture
def groceries(tmp_path, monkeypatch, rng):
    """A made-up collection of groceries; samples go to a folder of the test."""
    monkeypatch.setattr(config, "SAMPLES", tmp_path / "samples")
    monkeypatch.setattr(tool, "FOODS", {"apple": "Fruit/Apple"})
    for split, n in (("train", 40), ("val", 6), ("test", 9)):
        folder = tmp_path / "groceries" / split / "Fruit" / "Apple" / "Red"
        folder.mkdir(parents=True)
        for i in range(n):
            Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(folder / f"Red_{i:02d}.jpg")
    return tmp_path / "groceries"


def test_the_same_folders_give_the_same_files(groceries, tmp_path):
    tool.make_groceries(groceries)
    (tmp_path / "samples").rename(tmp_path / "first")
    tool.make_groceries(groceries)
    compared = filecmp.dircmp(tmp_path / "first" / "groceries", tmp_path / "samples" / "groceries")
    assert compared.left_list == compared.right_list == ["credits.csv", "test", "train", "validation"]
    for path in (tmp_path / "first").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "samples" / path.relative_to(tmp_path / "first")).read_bytes()


def test_a_near_copy_of_a_test_picture_is_not_trained_on(groceries):
    (test,) = groceries.glob("test/Fruit/Apple/Red/Red_03.jpg")
    copied = groceries / "train" / "Fruit" / "Apple" / "Red" / "Red_07.jpg"
    Image.open(test).rotate(1).save(copied)
    tool.make_groceries(groceries)
    sources = [row["path in source"] for row in credits_of("groceries")]
    assert "test/Fruit/Apple/Red/Red_03.jpg" in sources
    assert "train/Fruit/Apple/Red/Red_07.jpg" not in sources
    assert len(sources) == len(set(sources)) == 9 + 6 + 39


def test_vegetables_are_taken_from_all_splits_and_not_split(groceries, monkeypatch):
    monkeypatch.setattr(tool, "VEGETABLES", {"apple": "Red"})
    tool.make_vegetables(groceries)
    names = [row["file"] for row in credits_of("vegetables")]
    assert len(names) == 40 + 6 + 9
    assert {name.partition("_")[0] for name in names} == {"apple/test", "apple/train", "apple/val"}


def test_a_folder_without_pictures_is_told_in_one_sentence(groceries, tmp_path):
    with pytest.raises(SystemExit, match=r"nowhere.* holds no JPEG: give the folders"):
        tool.make_groceries(tmp_path / "nowhere")
    with pytest.raises(SystemExit, match=r"make_samples\.py GROCERIES PETS BEANS FRUITS"):
        tool.main([])


def test_a_wrong_folder_is_named_before_any_sample_is_replaced(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "SAMPLES", tmp_path)
    (tmp_path / "groceries").mkdir()
    (tmp_path / "source").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "source" / "a.jpg")
    with pytest.raises(SystemExit, match="nowhere holds no JPEG"):
        tool.main([str(tmp_path / "source")] * 3 + [str(tmp_path / "nowhere")])
    assert (tmp_path / "groceries").is_dir()
