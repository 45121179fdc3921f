"""Folders of one's own, good and bad."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from helpers import data, folder


def photograph(path, rng, size=(48, 48)):
    """Write a picture unlike any other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    small.resize(size).save(path, quality=95)
    return path


@pytest.fixture
def mine(tmp_path, rng):
    """A good folder: 24 cats, 24 dogs."""
    for name in ("cat", "dog"):
        for i in range(24):
            photograph(tmp_path / "mine" / name / f"{i:02d}.jpg", rng)
    return tmp_path / "mine"


def near_copy(path, target, quality=80):
    with Image.open(path) as image:
        image.rotate(1).save(target, quality=quality)


def only_finding(place):
    (sentence,) = folder.check(place).findings
    return sentence


def test_a_good_folder_is_split_by_class_without_a_word(mine):
    checked = folder.check(mine)
    assert checked.findings == ()
    assert checked.left_out == {}
    assert checked.counts().to_dict() == {"images": {"cat": 24, "dog": 24}, "independent": {"cat": 24, "dog": 24}}
    dataset = folder.split(checked)
    assert dataset.counts().loc["cat"].tolist() == dataset.counts().loc["dog"].tolist() == [14, 5, 5]
    assert len({path for split in data.SPLITS for path in getattr(dataset, split).paths}) == 48


def test_the_same_seed_gives_the_same_split_and_another_seed_another(mine):
    checked = folder.check(mine)
    first, again, other = (folder.split(checked, seed).test.paths.tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_labels_are_those_of_the_folders(mine):
    dataset = folder.split(folder.check(mine))
    for images in (dataset.train, dataset.validation, dataset.test):
        for path, label in zip(images.paths, images.labels, strict=True):
            assert path.split(os.sep)[-2] == images.class_names[label]


def test_files_that_are_no_images_are_left_out(mine):
    (mine / "cat" / "notes.jpg").write_text("no picture")
    (mine / "dog" / "cut.jpg").write_bytes((mine / "dog" / "01.jpg").read_bytes()[:300])
    assert only_finding(mine) == "2 files left out, not a readable image: cat/notes.jpg, dog/cut.jpg."
    assert len(folder.check(mine).images) == 48


def test_tiny_and_huge_images_are_left_out(mine, rng, monkeypatch):
    photograph(mine / "cat" / "tiny.jpg", rng, (20, 40))
    Image.new("1", (11000, 9000)).save(mine / "dog" / "huge.png")
    Image.new("1", (15000, 13000)).save(mine / "dog" / "larger still.png")  # Pillow itself refuses this one
    tiny, huge = folder.check(mine).findings
    assert tiny == "1 file left out, smaller than 32 pixels: cat/tiny.jpg."
    assert huge == "2 files left out, larger than 80 million pixels: dog/huge.png, dog/larger still.png."


def test_a_copy_in_its_class_is_left_out_and_the_same_file_in_two_classes_is_left_out_of_both(mine):
    shutil.copy(mine / "cat" / "00.jpg", mine / "cat" / "copy.jpg")
    shutil.copy(mine / "cat" / "01.jpg", mine / "dog" / "in both.jpg")
    copied, contradicted = folder.check(mine).findings
    assert copied == "1 file left out, a copy of another of its class: cat/copy.jpg."
    assert contradicted.startswith("2 files left out, since the same file lies in two classes and one label must be")
    assert contradicted.endswith("cat/01.jpg, dog/in both.jpg.")
    assert len(folder.check(mine).images) == 47


def test_near_copies_share_a_group_and_never_lie_in_two_splits(mine):
    for i in range(8):
        for n in range(2):
            near_copy(mine / "cat" / f"{i:02d}.jpg", mine / "cat" / f"{i:02d} again {n}.jpg", quality=80 + n)
    near_copy(mine / "dog" / "03.jpg", mine / "cat" / "a dog.jpg")
    checked = folder.check(mine)
    assert checked.findings[0].startswith(
        "9 groups of near-copies, 26 images in all: each group goes into one split: cat/"
    )
    assert (
        checked.findings[1] == "1 group of near-copies in two classes; are the labels right? cat/a dog.jpg, dog/03.jpg."
    )
    assert checked.counts().loc["cat"].tolist() == [41, 25]
    group_of = dict(zip(checked.images.paths, checked.groups, strict=True))
    for seed in range(10):
        dataset = folder.split(checked, seed)
        groups = [{group_of[path] for path in getattr(dataset, name).paths} for name in data.SPLITS]
        assert sum(map(len, groups)) == len(set.union(*groups)) == 48
        assert min(len(groups[1]), len(groups[2])) >= 12  # what is measured on is independent


def test_a_class_of_one_scene_and_few_other_pictures_fills_each_split(mine, rng):
    shutil.rmtree(mine / "cat")
    for i in range(5):
        photograph(mine / "cat" / f"{i}.jpg", rng)
    for n in range(20):
        near_copy(mine / "cat" / "0.jpg", mine / "cat" / f"0 again {n}.jpg", quality=70 + n)
    dataset = folder.split(folder.check(mine))
    assert dataset.counts().loc["cat"].tolist() == [21, 1, 3]


def test_splits_that_the_folder_gives_are_kept_and_cleaned_of_copies(mine, tmp_path):
    given = tmp_path / "given"
    for name in ("cat", "dog"):
        for i, path in enumerate(sorted((mine / name).iterdir())):
            target = given / ("Train" if i % 3 else "test") / name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    shutil.copy(given / "test" / "cat" / "00.jpg", given / "Train" / "cat" / "copy.jpg")
    near_copy(given / "test" / "dog" / "03.jpg", given / "Train" / "dog" / "near.jpg")
    checked = folder.check(given)
    assert checked.findings[0] == "1 file left out, a copy of one in test: Train/cat/copy.jpg."
    assert checked.findings[1] == "1 file left out, a near-copy of one in test: Train/dog/near.jpg."
    dataset = folder.split(checked)
    assert dataset.counts().loc["total"].tolist() == [22, 10, 16]  # validation is drawn from train
    assert all("/test/" in path for path in dataset.test.paths)
    assert dataset.skipped == ("Train/cat/copy.jpg", "Train/dog/near.jpg")


def test_a_rule_decides_what_is_tested_and_the_rest_is_drawn(mine):
    def split_of(path):
        return "test" if int(os.path.basename(path)[:2]) < 8 else "train"

    near_copy(mine / "cat" / "03.jpg", mine / "cat" / "30.jpg")  # on the other side of the rule
    dataset = folder.split(folder.check(mine), split_of=split_of)
    assert {os.path.basename(path) for path in dataset.test.paths} == {f"{i:02d}.jpg" for i in (*range(8), 30)}
    assert dataset.counts().loc["total"].tolist() == [22, 10, 17]


def test_a_rule_without_a_wish_changes_nothing_and_an_unknown_split_is_refused(mine):
    checked = folder.check(mine)
    without, with_rule = folder.split(checked), folder.split(checked, split_of=lambda path: "")
    assert without.test.paths.tolist() == with_rule.test.paths.tolist()
    with pytest.raises(ValueError, match="There is no split 'exam': return one of train, validation, test, or an emp"):
        folder.split(checked, split_of=lambda path: "exam")


def test_a_rule_is_not_asked_where_the_folder_gives_splits(mine):
    for name in ("cat", "dog"):
        (mine / "train").mkdir(exist_ok=True)
        (mine / name).rename(mine / "train" / name)
        (mine / "test" / name).mkdir(parents=True)
        (mine / "train" / name / "00.jpg").rename(mine / "test" / name / "00.jpg")
    dataset = folder.split(folder.check(mine), split_of=lambda path: "test")
    assert dataset.counts().loc["total"].tolist() == [36, 10, 2]


def test_a_rule_that_leaves_a_split_without_a_class_is_refused(mine):
    with pytest.raises(ValueError, match="There is no image of dog for test: change split_of, or add such images"):
        folder.split(folder.check(mine), split_of=lambda path: "test" if "cat/00" in path else "train")


def test_a_given_split_without_a_class_is_refused(mine):
    for name in ("cat", "dog"):
        (mine / "train").mkdir(exist_ok=True)
        (mine / name).rename(mine / "train" / name)
    (mine / "test" / "cat").mkdir(parents=True)
    (mine / "train" / "cat" / "00.jpg").rename(mine / "test" / "cat" / "00.jpg")
    with pytest.raises(ValueError, match=r"no image of dog for test: add some to test/, or put all"):
        folder.split(folder.check(mine))


def test_class_folders_one_too_deep_are_found(mine, tmp_path):
    (tmp_path / "outer" / "photos").mkdir(parents=True)
    mine.rename(tmp_path / "outer" / "photos" / "mine")
    checked = folder.check(tmp_path / "outer")
    assert checked.findings == ("The class folders lie too deep: those inside of photos/mine are used.",)
    assert checked.images.class_names == ("cat", "dog")


def test_images_in_sub_folders_of_a_class_are_used(mine, rng):
    photograph(mine / "cat" / "holiday" / "beach" / "1.jpg", rng)
    assert only_finding(mine).startswith(
        "1 sub-folder of a class folder: the images are used, as of that class: cat/hol"
    )
    assert folder.check(mine).counts().loc["cat", "images"] == 25


def test_images_beside_the_class_folders_are_named_and_other_files_are_not(mine, rng):
    photograph(mine / "lost.jpg", rng)
    (mine / "readme.txt").write_text("mine")
    (mine / ".DS_Store").write_text("")
    assert only_finding(mine) == "1 file left out, since it lies beside the class folders: lost.jpg."


def test_symbolic_links_out_of_the_folder_are_not_followed(mine, tmp_path, rng):
    outside = photograph(tmp_path / "elsewhere" / "secret.jpg", rng)
    (mine / "cat" / "link.jpg").symlink_to(outside)
    (mine / "bird").symlink_to(outside.parent)
    (mine / "dog" / "all").symlink_to(mine)
    out, inside = folder.check(mine).findings
    assert out == "2 files left out, a symbolic link out of the folder: bird, cat/link.jpg."
    assert inside == "1 file left out, a symbolic link to a folder: dog/all."
    assert len(folder.check(mine).images) == 48


def test_names_beyond_ascii_are_used_and_told(mine):
    (mine / "dog").rename(mine / "Hündin")
    (mine / "cat" / "00.jpg").rename(mine / "cat" / "猫.jpg")
    assert only_finding(mine).startswith(
        "25 names with letters beyond ASCII: they are used as they are: Hündin/00.jpg,"
    )
    dataset = folder.split(folder.check(mine))
    assert dataset.class_names == ("Hündin", "cat")
    (pixels, _), *_ = data.pipeline(dataset.train, 16)
    assert pixels.shape[1:] == (16, 16, 3)


def test_a_name_that_is_no_text_is_used_and_shown_with_its_bytes(mine):
    try:
        os.rename(mine / "cat" / "00.jpg", os.fsencode(mine / "cat") + b"/\xff.jpg")
    except OSError:
        pytest.skip("this disk takes names of text only")
    assert "cat/\\udcff.jpg" in only_finding(mine)


def test_what_may_not_be_read_is_left_out(mine, monkeypatch):
    real = type(mine).read_bytes

    def refuse(path):
        if path.name == "05.jpg":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(type(mine), "read_bytes", refuse)
    assert only_finding(mine) == "2 files left out, since it may not be read: cat/05.jpg, dog/05.jpg."


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_left_out(mine, rng):
    photograph(mine / "bird" / "1.jpg", rng)
    (mine / "bird").chmod(0)
    try:
        findings = folder.check(mine).findings
    finally:
        (mine / "bird").chmod(0o700)
    assert findings[0] == "1 file left out, a folder that may not be read: bird."


def test_a_class_with_one_image_is_left_out_and_the_others_are_used(mine, rng):
    photograph(mine / "bird" / "1.jpg", rng)
    (mine / "empty").mkdir()
    bird, empty = folder.check(mine).findings
    assert bird == ("The class bird is left out: it has 1 independent good image, and each class needs 5.")
    assert empty.startswith("The class empty is left out: it has 0 independent good images")
    assert folder.check(mine).images.class_names == ("cat", "dog")


def test_few_images_and_uneven_classes_are_told(mine):
    for path in sorted((mine / "dog").iterdir())[5:]:
        path.unlink()
    few, uneven = folder.check(mine).findings
    assert few == "1 class with fewer than 20 images: expect wide intervals, and add some: dog 5."
    assert uneven == "The classes are uneven: 24 images of cat, 5 of dog. Look at the accuracy of each class."


def test_folders_without_two_classes_are_refused_in_a_sentence(mine, tmp_path):
    with pytest.raises(ValueError, match=r"nowhere is no folder: name one that holds a sub-folder"):
        folder.check(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty has no class that can be learned: .* It holds nothing\."):
        folder.check(tmp_path / "empty")
    with pytest.raises(
        ValueError, match=r"cat has no class that can be learned: .*24 files left out, since it lies beside"
    ):
        folder.check(mine / "cat")
    shutil.rmtree(mine / "dog")
    with pytest.raises(ValueError, match=r"mine has only one class, cat, that can be learned: make a sub-folder"):
        folder.check(mine)


def test_nothing_in_the_folder_is_changed(mine):
    before = {path: path.stat().st_mtime_ns for path in mine.rglob("*")}
    folder.split(folder.check(mine))
    assert {path: path.stat().st_mtime_ns for path in mine.rglob("*")} == before


def test_images_are_written_into_a_clean_folder(mine, tmp_path):
    images = folder.check(mine).images.select(np.array([0, 1, 30]))
    (tmp_path / "clean" / "old").mkdir(parents=True)
    place = folder.write(images, tmp_path / "clean", 32)
    files = sorted(path.relative_to(place).as_posix() for path in place.rglob("*.jpg"))
    assert files == ["cat/00000.jpg", "cat/00001.jpg", "dog/00002.jpg"]
    assert not (place / "old").exists()
    difference = data.read_file(place / "dog" / "00002.jpg", 32) - data.read_file(images.paths[2], 32).astype(int)
    assert np.abs(difference).mean() < 15


def test_pictures_in_a_chain_of_near_copies_share_a_group():
    hashes = np.zeros((5, 256), dtype=bool)
    hashes[1, :20] = hashes[2, :40] = True  # 20 bits from one to the next, 40 from the first to the last
    hashes[3, 100:] = True
    hashes[4, 100:240] = True
    assert [group == folder._groups(hashes)[0] for group in folder._groups(hashes)] == [True, True, True, False, False]
    assert folder._groups(hashes)[3] == folder._groups(hashes)[4]
