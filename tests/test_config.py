from pathlib import Path

import pytest
import tensorflow as tf

from helpers import config

FOLDERS = {"COURSE_DATA": config.data_folder, "COURSE_WEIGHTS": config.weights_folder}


@pytest.mark.parametrize("run", config.RUNS)
def test_run_is_chosen_by_argument_then_by_course_run(monkeypatch, run):
    monkeypatch.setenv("COURSE_RUN", run)
    assert config.run() == run
    assert config.run("sample") == "sample"


@pytest.mark.parametrize(("gpus", "run"), [([], "sample"), (["GPU:0"], "full")])
def test_hardware_chooses_the_run_where_nobody_does(monkeypatch, gpus, run):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus if kind == "GPU" else ["CPU:0"])
    assert config.run() == run


def test_unknown_run_lists_the_runs(monkeypatch):
    with pytest.raises(ValueError, match=r"run 'fast': choose from sample, full"):
        config.run("fast")
    monkeypatch.setenv("COURSE_RUN", "Sample")
    with pytest.raises(ValueError, match=r"run 'Sample': choose from sample, full"):
        config.run()


@pytest.mark.parametrize("variable", FOLDERS)
def test_folder_that_a_variable_names(monkeypatch, tmp_path, variable):
    folder = FOLDERS[variable]
    assert folder() is None
    monkeypatch.setenv(variable, "")
    assert folder() is None
    monkeypatch.setenv(variable, str(tmp_path))
    assert folder() == tmp_path.resolve()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, "data/samples")  # counts from the project, not from the working directory
    assert folder() == config.SAMPLES.resolve()
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "sets").mkdir()
    monkeypatch.setenv(variable, "~/sets")
    assert folder() == (tmp_path / "sets").resolve()


@pytest.mark.parametrize("variable", FOLDERS)
@pytest.mark.parametrize("kind", ["missing", "a file"])
def test_name_of_no_folder_gives_one_clear_sentence(monkeypatch, tmp_path, variable, kind):
    named = tmp_path / "nowhere"
    if kind == "a file":
        named.touch()
    monkeypatch.setenv(variable, str(named))
    with pytest.raises(ValueError, match=rf"{variable} names .*nowhere, which is not a folder") as error:
        FOLDERS[variable]()
    assert "\n" not in str(error.value)


def test_models_are_kept_in_build_or_where_course_keep_says(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "BUILD", tmp_path / "build")
    assert config.keep_folder() == tmp_path / "build" / "kept"
    monkeypatch.setenv("COURSE_KEEP", str(tmp_path / "drive" / "course"))
    assert config.keep_folder() == tmp_path / "drive" / "course"
    assert config.keep_folder().is_dir()
    (tmp_path / "file").touch()
    monkeypatch.setenv("COURSE_KEEP", str(tmp_path / "file" / "below"))
    with pytest.raises(ValueError, match=r"Nothing can be kept in .*below .*COURSE_KEEP"):
        config.keep_folder()


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


def test_importing_the_package_imports_nothing_heavy_and_is_instant(run_python):
    code = (
        "import sys, time; start = time.perf_counter(); import helpers; seconds = time.perf_counter() - start; "
        "print(seconds, *sorted({'tensorflow', 'keras', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    seconds, *heavy = min((run_python(code).split() for _ in range(3)), key=lambda printed: float(printed[0]))
    assert heavy == []
    assert float(seconds) <= 0.3  # what a learner does not notice; it is about a millisecond


def test_light_modules_and_settings_of_a_chosen_run_do_not_start_tensorflow(run_python):
    code = (
        "import sys; from helpers import config, downloads, evaluation, lessons, plotting, session; "
        "lessons.settings('02', 'full'); config.data_folder(); "
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert run_python(code, cwd=Path(__file__).parent) == "[]"
