import collections
import hashlib
import io
import tarfile
import types
from pathlib import Path

import make_samples as tool
import numpy as np
import pytest
from PIL import Image, ImageDraw

from helpers import config, downloads

# set -> pixels, classes, and images a class in train, validation and test
SAMPLES = {
    "food10": (160, 10, (40, 15, 20)),
    "cats_vs_dogs": (160, 2, (60, 25, 100)),
    "cifar10": (32, 10, (40, 15, 20)),
    "fruits360": (100, 20, (12, 5, 8)),
    "beans": (160, 3, (40, 15, 25)),
}
SPLITS = ("train", "validation", "test")


def sample_files(name: str, split: str = "*") -> list[Path]:
    return sorted((config.SAMPLES / name).glob(f"{split}/*/*.jpg"))


def test_these_are_all_the_samples_there_are():
    assert {f.name for f in config.SAMPLES.iterdir()} == set(SAMPLES)
    files = [f for f in config.SAMPLES.rglob("*") if f.is_file()]
    assert len(files) == sum(len(sample_files(name)) for name in SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_class_has_the_same_number_of_images_in_each_split(name):
    _, n_classes, counts = SAMPLES[name]
    for split, count in zip(SPLITS, counts, strict=True):
        found = collections.Counter(file.parent.name for file in sample_files(name, split))
        assert len(found) == n_classes
        assert set(found.values()) == {count}


@pytest.mark.parametrize("name", [name for name in SAMPLES if "classes" in downloads.describe(name)])
def test_classes_are_those_of_the_real_data_set(name):
    for split in SPLITS:
        folders = sorted(f.name for f in (config.SAMPLES / name / split).iterdir())
        assert folders == downloads.describe(name)["classes"]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_split_is_drawn_by_other_artists(name):
    artists = [{file.stem.split("_", 1)[1] for file in sample_files(name, split)} for split in SPLITS]
    assert len(artists[0]) > 1
    assert all(artists)
    assert len(set.union(*artists)) == sum(map(len, artists))


@pytest.mark.parametrize("name", SAMPLES)
def test_no_image_is_there_twice(name):
    files = sample_files(name)
    hashes = collections.Counter(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    assert len(files) > 0
    assert max(hashes.values()) == 1


@pytest.mark.parametrize("name", SAMPLES)
def test_every_image_decodes_to_rgb_of_the_sets_size(name):
    pixels = SAMPLES[name][0]
    for file in sample_files(name):
        with Image.open(file) as image:
            image.load()
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (pixels, pixels)), file


def test_samples_take_at_most_10_megabytes():
    assert sum(file.stat().st_size for name in SAMPLES for file in sample_files(name)) <= 10e6


# --- the tool that draws them


@pytest.fixture
def glyph() -> Image.Image:
    """A drawing to stand in for an artist's: a red disc on nothing."""
    image = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse([20, 20, 236, 236], fill=(220, 40, 40, 255))
    return image


def test_the_tool_describes_the_samples_that_are_there():
    described = {
        name: (spec["pixels"], len(spec["classes"]), tuple(spec["counts"][split] for split in SPLITS))
        for name, spec in tool.SETS.items()
    }
    assert described == SAMPLES
    for name in SAMPLES:
        for split in SPLITS:
            artists = {file.stem.split("_", 1)[1] for file in sample_files(name, split)}
            assert artists <= set(tool.SPLIT_ARTISTS[split])
    assert set().union(*tool.SPLIT_ARTISTS.values()) == set(tool.ARTISTS)


@pytest.mark.parametrize("label", ["bean_rust", "angular_leaf_spot", "healthy"])
def test_scene_depends_on_the_seed_alone(glyph, label):
    first, again, other = (
        np.asarray(tool.leaf_scene(glyph, np.random.default_rng(seed), 64, label)) for seed in (1, 1, 2)
    )
    assert first.shape == (64, 64, 3)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_lesions_alone_tell_a_sick_leaf_from_a_healthy_one(glyph):
    before = glyph.tobytes()
    # the drawing of lesions comes before the background's, so ask for the leaf's own colour: less of it is left
    shares = {}
    for label in ("healthy", "bean_rust", "angular_leaf_spot"):
        scenes = [np.asarray(tool.leaf_scene(glyph, np.random.default_rng(s), 64, label)).astype(int) for s in range(5)]
        shares[label] = np.mean([(np.abs(scene - [220, 40, 40]).max(axis=-1) < 12).mean() for scene in scenes])
    assert shares["bean_rust"] < 0.98 * shares["healthy"]
    assert shares["angular_leaf_spot"] < 0.98 * shares["healthy"]
    assert glyph.tobytes() == before


def two_tone(body: tuple, spot: tuple) -> Image.Image:
    """A disc with a spot, in the colours in which an artist may have painted it."""
    image = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse([20, 20, 236, 236], fill=(*body, 255))
    ImageDraw.Draw(image).rectangle([90, 90, 150, 170], fill=(*spot, 255))
    return image


def hue_sectors(pixels: np.ndarray) -> set[int]:
    """Which of the twelve sectors of the colour circle the colours ``(n, 3)`` lie in."""
    image = Image.fromarray(np.asarray(pixels, np.uint8)[None]).convert("HSV")
    return {int(hue) * 12 // 256 for hue in np.asarray(image)[0, :, 0]}


@pytest.mark.parametrize("colours", ["recoloured", "two_coloured"])
def test_new_colours_depend_on_the_seed_alone_and_keep_the_outline(colours):
    glyph = two_tone((220, 40, 40), (250, 220, 90))
    glyph.putalpha(glyph.getchannel("A").point(lambda a: a * 3 // 4))
    before = glyph.tobytes()
    first, again, other = (getattr(tool, colours)(glyph, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first.mode, first.size) == ("RGBA", glyph.size)
    assert first.tobytes() == again.tobytes() != other.tobytes()
    assert first.getchannel("A").tobytes() == other.getchannel("A").tobytes() == glyph.getchannel("A").tobytes()
    assert glyph.tobytes() == before


def test_recoloured_drawing_may_have_any_hue_and_be_dark_or_bright():
    glyph = two_tone((128, 30, 30), (30, 128, 30))
    drawn = np.array([np.asarray(tool.recoloured(glyph, np.random.default_rng(s)))[50, 128, :3] for s in range(150)])
    assert hue_sectors(drawn) == set(range(12))
    brightness, saturation = drawn.max(axis=1), 1 - drawn.min(axis=1) / drawn.max(axis=1)
    assert brightness.min() < 80  # a middling colour may become a dark or a bright one
    assert brightness.max() > 165
    assert saturation.min() < 0.3  # and nearly grey
    assert saturation.max() > 0.7


def test_two_coloured_drawing_tells_nothing_of_the_colours_it_was_painted_in():
    painted = [two_tone((60, 60, 60), (220, 220, 220)), two_tone((120, 100, 90), (140, 140, 160))]
    painted.append(two_tone((200, 30, 30), (255, 250, 190)))
    for seed in range(10):
        first, *others = (np.asarray(tool.two_coloured(glyph, np.random.default_rng(seed))) for glyph in painted)
        opaque = first[..., 3] > 0  # what is drawn where nothing shows is of no consequence
        for other in others:
            np.testing.assert_array_equal(first[opaque], other[opaque])


def test_two_coloured_drawing_keeps_light_and_dark_and_may_have_any_two_hues():
    glyph = two_tone((60, 60, 60), (220, 220, 220))
    drawn = [np.asarray(tool.two_coloured(glyph, np.random.default_rng(seed))) for seed in range(150)]
    dark, light = np.array([d[50, 128, :3] for d in drawn]), np.array([d[130, 120, :3] for d in drawn])
    assert dark.max() < light.max(axis=1).min()
    for colours in (dark, light):
        assert hue_sectors(colours) == set(range(12))


def test_pets_differ_by_shape_alone_and_things_on_a_table_by_colour_too():
    glyphs = two_tone((60, 60, 60), (220, 220, 220)), two_tone((200, 30, 30), (255, 250, 190))
    for scene, same in (("pets", True), ("table", False)):
        first, other = (np.asarray(tool.SCENES[scene](glyph, np.random.default_rng(3), 64, "")) for glyph in glyphs)
        assert first.shape == (64, 64, 3)
        assert np.array_equal(first, other) is same


def test_portraits_may_have_any_hue(glyph):
    drawn = [tool.portrait_scene(glyph, np.random.default_rng(seed), 32, "") for seed in range(100)]
    assert hue_sectors(np.array([np.asarray(scene)[16, 16] for scene in drawn])) >= set(range(12))


@pytest.mark.parametrize("scene", ["table", "pets", "portrait", "white", "leaf"])
def test_set_is_drawn_the_same_every_time_and_no_image_twice(glyph, monkeypatch, tmp_path, scene):
    spec = {
        "pixels": 40,
        "scene": scene,
        "counts": {"train": 4, "validation": 1, "test": 1},
        "classes": {"a": {"x": "thing"}, "b": {"x": "thing"}},
    }
    monkeypatch.setattr(tool, "SETS", {"tiny": spec})
    glyphs = {artist: {"thing": glyph} for artist in tool.ARTISTS}
    sizes = [tool.make_set("tiny", glyphs, tmp_path / run) for run in ("first", "second")]
    files = [
        {f.relative_to(tmp_path / run).as_posix(): f.read_bytes() for f in (tmp_path / run).rglob("*.jpg")}
        for run in ("first", "second")
    ]
    assert files[0] == files[1]
    assert len(set(files[0].values())) == len(files[0]) == 12
    assert sizes == [sum(map(len, files[0].values()))] * 2
    assert {f"tiny/train/a/{n}.jpg" for n in ("000_noto", "001_noto-v1", "002_twemoji", "003_noto")} <= set(files[0])


def test_drawing_that_an_artist_has_not_made_is_left_out(glyph, monkeypatch, tmp_path):
    counts = {"train": 3, "validation": 1, "test": 1}
    spec = {"pixels": 40, "scene": "white", "counts": counts, "classes": {"a": {"x": "thing"}}}
    monkeypatch.setattr(tool, "SETS", {"tiny": spec})
    glyphs = {artist: {"thing": glyph} for artist in tool.ARTISTS}
    glyphs["noto"] = {}
    tool.make_set("tiny", glyphs, tmp_path)
    names = sorted(f.name for f in (tmp_path / "tiny" / "train" / "a").iterdir())
    assert names == ["000_noto-v1.jpg", "001_twemoji.jpg", "002_noto-v1.jpg"]


@pytest.fixture
def npm(monkeypatch, tmp_path):
    """Stands in for npm: every package is one small archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("package/icons.json"))

    def pack(command, **_):
        (tmp_path / "artwork" / "noto.tgz").write_bytes(buffer.getvalue())
        return types.SimpleNamespace(stdout="noto.tgz\n")

    monkeypatch.setattr(tool, "ARTWORK", tmp_path / "artwork")
    monkeypatch.setattr(tool.subprocess, "run", pack)
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def test_artwork_is_unpacked_where_its_hash_is_the_expected_one(npm, monkeypatch, tmp_path):
    monkeypatch.setitem(tool.ARTISTS, "noto", ("@iconify-json/noto", "1.2.9", npm))
    assert tool.fetch_artwork("noto") == tmp_path / "artwork" / "noto" / "package"
    assert (tmp_path / "artwork" / "noto" / "package" / "icons.json").is_file()


def test_artwork_that_has_changed_is_refused(npm, tmp_path):
    with pytest.raises(ValueError, match=r"noto\.tgz has sha256 .*: the artwork has changed"):
        tool.fetch_artwork("noto")
    assert not (tmp_path / "artwork" / "noto").exists()
