from pathlib import Path

import pytest
import tensorflow as tf

from helpers import config


@pytest.mark.parametrize("lesson", config.LESSONS)
@pytest.mark.parametrize("run", config.RUNS)
def test_run_is_chosen_by_argument(lesson, run):
    chosen = config.settings(lesson, run)
    assert (chosen.lesson, chosen.run) == (lesson, run)
    assert chosen.backbone in config.BACKBONES


@pytest.mark.parametrize("run", config.RUNS)
def test_run_is_chosen_by_course_run(monkeypatch, run):
    monkeypatch.setenv("COURSE_RUN", run)
    assert config.settings("01") == config.settings("01", run)


def test_argument_wins_over_course_run(monkeypatch):
    monkeypatch.setenv("COURSE_RUN", "full")
    assert config.settings("01", "sample").run == "sample"


@pytest.mark.parametrize(("gpus", "run"), [([], "sample"), (["GPU:0"], "full")])
def test_hardware_chooses_the_run_where_nobody_does(monkeypatch, gpus, run):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus if kind == "GPU" else ["CPU:0"])
    assert config.settings("01").run == run


def test_sample_and_full_run_differ_where_they_should():
    sample, full = config.settings("02", "sample"), config.settings("02", "full")
    assert sample.backbone == "efficientnet-lite0"  # the only one whose weights need no network
    assert full.backbone == "EfficientNetB0"
    assert sample.image_size < full.image_size == 224
    assert sample.hub_models == {}
    assert len(full.hub_models) == 3
    assert all(handle.startswith("https://") for handle in full.hub_models.values())


def test_lesson_01_repeats_its_experiment_with_three_seeds():
    assert config.settings("01", "sample").seeds == config.settings("01", "full").seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("lesson", "dataset"),
    [("03", "cats_vs_dogs"), ("04", "cifar10"), ("05-fruits", "fruits360"), ("05-beans", "beans")],
)
@pytest.mark.parametrize("run", config.RUNS)
def test_lessons_that_fine_tune_say_for_how_long_and_with_which_rate(lesson, dataset, run):
    chosen = config.settings(lesson, run)
    assert chosen.dataset == dataset
    assert chosen.fine_tuning_epochs >= 1
    assert 0 < chosen.fine_tuning_rate <= chosen.learning_rate
    if run == "full":
        assert chosen.fine_tuning_rate <= 0.1 * chosen.learning_rate


@pytest.mark.parametrize("lesson", ["01", "02"])
@pytest.mark.parametrize("run", config.RUNS)
def test_lessons_before_the_third_do_not_fine_tune(lesson, run):
    chosen = config.settings(lesson, run)
    assert (chosen.fine_tuning_epochs, chosen.fine_tuning_rate) == (None, None)


@pytest.mark.parametrize("lesson", config.LESSONS)
def test_sample_run_needs_no_network_and_uses_all_of_the_embedded_images(lesson):
    chosen = config.settings(lesson, "sample")
    assert chosen.backbone == "efficientnet-lite0"
    assert (config.SAMPLES / chosen.dataset / "train").is_dir()
    assert chosen.per_class == {}


def test_unknown_lesson_lists_the_lessons():
    with pytest.raises(ValueError, match=r"lesson '99': choose from 01, 02"):
        config.settings("99", "sample")


def test_unknown_run_lists_the_runs():
    with pytest.raises(ValueError, match=r"run 'fast': choose from sample, full"):
        config.settings("01", "fast")


def test_unknown_course_run_lists_the_runs(monkeypatch):
    monkeypatch.setenv("COURSE_RUN", "Sample")
    with pytest.raises(ValueError, match=r"run 'Sample': choose from sample, full"):
        config.settings("01")


def test_unknown_course_backbone_lists_the_backbones(monkeypatch):
    monkeypatch.setenv("COURSE_BACKBONE", "resnet50")
    with pytest.raises(ValueError, match="backbone 'resnet50'") as error:
        config.settings("01", "sample")
    assert all(name in str(error.value) for name in config.BACKBONES)


def test_course_backbone_replaces_the_backbone_and_the_hub_models(monkeypatch):
    monkeypatch.setenv("COURSE_BACKBONE", "VGG16")
    chosen = config.settings("02", "full")
    assert chosen.backbone == "VGG16"
    assert chosen.hub_models == {}
    monkeypatch.delenv("COURSE_BACKBONE")
    assert len(config.settings("02", "full").hub_models) == 3  # the lesson's own numbers are not changed


@pytest.mark.parametrize("lesson", config.LESSONS)
@pytest.mark.parametrize("run", config.RUNS)
def test_course_limit_bounds_every_split_and_never_raises_the_lessons_own_limits(monkeypatch, lesson, run):
    own = dict(config.settings(lesson, run).per_class)
    monkeypatch.setenv("COURSE_LIMIT", "150")
    limited = config.settings(lesson, run).per_class
    assert limited == {split: min(150, own.get(split, 150)) for split in ("train", "validation", "test")}
    monkeypatch.delenv("COURSE_LIMIT")
    assert config.settings(lesson, run).per_class == own  # the lesson's own numbers are not changed


def test_smaller_of_course_limit_and_the_lessons_own_limit_counts(monkeypatch):
    own = config.settings("03", "full").per_class
    limit = own["validation"] + 1  # the other two are larger
    monkeypatch.setenv("COURSE_LIMIT", str(limit))
    assert config.settings("03", "full").per_class == dict(train=limit, validation=limit - 1, test=limit)
    monkeypatch.setenv("COURSE_LIMIT", "1")
    assert config.settings("01", "sample").per_class == dict(train=1, validation=1, test=1)


@pytest.mark.parametrize(("lesson", "run"), [("01", "sample"), ("03", "full")])
def test_empty_course_limit_is_none(monkeypatch, lesson, run):
    without = config.settings(lesson, run)
    monkeypatch.setenv("COURSE_LIMIT", "")
    assert config.settings(lesson, run) == without


@pytest.mark.parametrize("given", ["0", "-5", "2.5", "1e2", "ten", " ", "²"])
def test_course_limit_that_is_no_number_from_1_is_refused(monkeypatch, given):
    monkeypatch.setenv("COURSE_LIMIT", given)
    with pytest.raises(ValueError, match=f"COURSE_LIMIT is '{given}': give the most images of a class, 1 or more"):
        config.settings("01", "sample")


def test_settings_are_shown_one_a_line_without_empty_ones():
    shown = repr(config.settings("01", "sample")).splitlines()
    assert "dataset       food10" in shown
    assert not any(line.startswith("hub_models") for line in shown)
    assert "hub_models" in repr(config.settings("02", "full"))


def test_settings_of_fine_tuning_and_limits_are_shown_where_there_are_any():
    names = [line.split()[0] for line in repr(config.settings("01", "sample")).splitlines()]
    assert not {"fine_tuning_epochs", "fine_tuning_rate", "per_class"} & set(names)
    numbers = dict(fine_tuning_epochs=7, fine_tuning_rate=1e-5, per_class=dict(train=20))
    shown = repr(config.Settings("03", "full", "cats_vs_dogs", "VGG16", 150, **numbers)).splitlines()
    assert "fine_tuning_epochs 7" in shown
    assert "fine_tuning_rate   1e-05" in shown
    assert "per_class          {'train': 20}" in shown
    assert "dataset            cats_vs_dogs" in shown  # as wide as the longest name


def test_settings_cannot_be_changed():
    with pytest.raises(AttributeError):
        config.settings("01", "sample").epochs = 1


def test_no_course_data_means_no_data_folder(monkeypatch):
    assert config.data_folder() is None
    monkeypatch.setenv("COURSE_DATA", "")
    assert config.data_folder() is None


def test_absolute_course_data_is_taken_as_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    assert config.data_folder() == tmp_path.resolve()


def test_relative_course_data_counts_from_the_project_not_from_the_working_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COURSE_DATA", "data/samples")
    assert config.data_folder() == config.SAMPLES.resolve()


def test_course_data_starts_at_the_home_folder_where_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "sets").mkdir()
    monkeypatch.setenv("COURSE_DATA", "~/sets")
    assert config.data_folder() == (tmp_path / "sets").resolve()


@pytest.mark.parametrize("kind", ["missing", "a file"])
def test_course_data_that_is_no_folder_gives_one_clear_sentence(monkeypatch, tmp_path, kind):
    named = tmp_path / "nowhere"
    if kind == "a file":
        named.touch()
    monkeypatch.setenv("COURSE_DATA", str(named))
    with pytest.raises(ValueError, match=r"COURSE_DATA names .*nowhere, which is not a folder") as error:
        config.data_folder()
    assert "\n" not in str(error.value)


def test_folders_lie_in_the_project():
    assert (config.ROOT / "data" / "datasets.toml").is_file()
    for folder in (config.SAMPLES, config.DOWNLOADS, config.RESULTS, config.CACHE, config.LOGS):
        assert config.ROOT in folder.parents


def test_project_is_found_above_the_notebook_where_the_package_is_installed_elsewhere(monkeypatch, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "datasets.toml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(config, "__file__", str(tmp_path / "site-packages" / "helpers" / "config.py"))
    monkeypatch.chdir(tmp_path / "notebooks")
    assert config._project_root() == tmp_path


@pytest.mark.parametrize("module", ["config", "downloads", "evaluation", "plotting", "session"])
def test_module_does_not_import_tensorflow(run_python, module):
    code = f"import sys; from helpers import {module}; print(sorted({{'tensorflow', 'keras'}} & set(sys.modules)))"
    assert run_python(code) == "[]"


def test_importing_the_package_imports_nothing_heavy_and_is_instant(run_python):
    code = (
        "import sys, time; start = time.perf_counter(); import helpers; seconds = time.perf_counter() - start; "
        "print(seconds, *sorted({'tensorflow', 'keras', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    seconds, *heavy = min((run_python(code).split() for _ in range(3)), key=lambda printed: float(printed[0]))
    assert heavy == []
    assert float(seconds) <= 0.3  # what a learner does not notice; it is about a millisecond


def test_settings_of_a_chosen_run_do_not_start_tensorflow(run_python):
    code = (
        "import sys; from helpers import config; config.settings('02', 'full'); config.data_folder(); "
        "print('tensorflow' in sys.modules)"
    )
    assert run_python(code, cwd=Path(__file__).parent) == "False"


@pytest.mark.parametrize("given", [None, ""])
def test_nothing_is_kept_elsewhere_unless_asked(monkeypatch, given, capsys):
    if given is not None:
        monkeypatch.setenv("COURSE_KEEP", given)
    assert config.keep_folder() is None
    assert capsys.readouterr().out == ""


def test_folder_that_outlives_the_machine_counts_from_the_project(monkeypatch):
    monkeypatch.setenv("COURSE_KEEP", "data")
    assert config.keep_folder() == config.ROOT / "data"


def test_folder_that_is_gone_is_said_and_nothing_is_kept_there(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("COURSE_KEEP", str(tmp_path / "gone"))
    assert config.keep_folder() is None
    assert capsys.readouterr().out.endswith("gone, which is not there: features and models are kept in build/ only.\n")
    assert not (tmp_path / "gone").exists()


def test_models_and_data_stay_on_the_local_disk(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_KEEP", str(tmp_path))
    monkeypatch.setattr(config, "BUILD", tmp_path / "build")
    assert config.models_folder() == tmp_path / "build" / "models"
    assert config.models_folder().is_dir()
    assert config.ROOT in config.DOWNLOADS.parents
