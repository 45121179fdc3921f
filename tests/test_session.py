"""What a lesson's first cell does, on stand-ins for Colab and pip's index."""

import importlib.metadata
import os
import sys
import types
import zipfile

import keras
import pytest

from helpers import config, lessons, session


@pytest.fixture
def colab(monkeypatch):
    """Pretend to be on Colab."""
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))


@pytest.fixture
def project_needs(monkeypatch, tmp_path):
    """A function that sets what ``pyproject.toml`` depends on."""
    (tmp_path / "root").mkdir()
    monkeypatch.setattr(config, "ROOT", tmp_path / "root")

    def needs(*requirements):
        (tmp_path / "root" / "pyproject.toml").write_text(f"[project]\ndependencies = {list(requirements)}\n")

    return needs


def write_wheel(folder, name, requires=""):
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as opened:
        opened.writestr(f"{name}.py", "")
        opened.writestr(
            f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{requires}"
        )
        opened.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        opened.writestr(f"{name}-1.0.dist-info/RECORD", "")


@pytest.fixture
def index(monkeypatch, tmp_path):
    """A folder of packages that pip takes its packages from, and one that it installs to."""
    (tmp_path / "index").mkdir()
    for name, value in dict(NO_INDEX="1", FIND_LINKS=tmp_path / "index", TARGET=tmp_path / "installed").items():
        monkeypatch.setenv(f"PIP_{name}", str(value))
    return tmp_path / "index", tmp_path / "installed"


def test_start_says_what_this_machine_is_and_changes_nothing_the_second_time(capsys):
    session.start("02")
    first, environment = capsys.readouterr().out, dict(os.environ)
    session.start("02")
    assert dict(os.environ) == environment
    assert capsys.readouterr().out == first
    machine, run = first.splitlines()
    assert all(f"{name} {importlib.metadata.version(name)}" in machine for name in ("tensorflow", "keras"))
    assert "no GPU" in machine
    assert run.startswith("This is the sample run")


def test_a_run_that_is_given_to_start_holds_for_every_later_cell(monkeypatch, capsys):
    monkeypatch.setenv("COURSE_RUN", "sample")
    session.start("02", run="full")
    assert "This is the full run." in capsys.readouterr().out
    assert lessons.settings("02").run == "full"
    with pytest.raises(ValueError, match="no run 'fast'"):
        session.start("02", run="fast")
    assert lessons.settings("02").run == "full"


@pytest.mark.parametrize("number", ["5", "99"])
def test_unknown_lesson_lists_the_lessons(number):
    with pytest.raises(ValueError, match=f"no lesson '{number}': choose from 01, 02"):
        session.start(number)


def test_another_backend_of_keras_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(ValueError, match=r"computes with jax here.*KERAS_BACKEND=tensorflow.*restart"):
        session.start("02")


def test_missing_packages_are_named_and_nothing_is_missing_here(project_needs, monkeypatch):
    project_needs("numpy", "surely-not-there==1.0", "tomli; python_version < '3'", "keras<3", "gone>=2")
    assert session.missing_requirements() == ["surely-not-there==1.0", "gone>=2"]
    monkeypatch.undo()
    assert session.missing_requirements() == []


def test_missing_package_off_colab_stops_with_the_remedy_and_installs_nothing(project_needs, monkeypatch):
    project_needs("surely-not-there>=1")
    monkeypatch.setattr(session, "install", pytest.fail)
    with pytest.raises(ModuleNotFoundError, match=r"`make setup` made.*`pip install 'surely-not-there>=1'`"):
        session.start("02")


def test_installing_brings_no_other_package_along(index):
    links, installed = index
    write_wheel(links, "wanted", requires="Requires-Dist: numpy==1.0\nRequires-Dist: other\n")
    write_wheel(links, "other")
    assert session.install(["wanted==1.0"]) == "Installed wanted==1.0; nothing else was changed."
    assert sorted(path.name for path in installed.iterdir() if path.suffix == ".py") == ["wanted.py"]


@pytest.mark.usefixtures("colab")
def test_colab_installs_what_is_missing_the_first_time_and_nothing_the_second(
    index, project_needs, monkeypatch, capsys
):
    links, installed = index
    write_wheel(links, "wanted")
    project_needs("numpy", "wanted==1.0")
    monkeypatch.syspath_prepend(str(installed))
    session.start("02")
    assert capsys.readouterr().out.startswith("Installed wanted==1.0; nothing else was changed.\nPython")
    session.start("02")
    assert capsys.readouterr().out.startswith("Python")


@pytest.mark.usefixtures("colab")
def test_colab_says_what_it_could_not_install_and_goes_on(index, project_needs, capsys):
    project_needs("numpy", "wanted==1.0")
    session.start("02")
    said = capsys.readouterr().out
    assert said.startswith("Could not install wanted==1.0 (No matching distribution found for wanted==1.0)")
    assert "This is the sample run" in said


@pytest.mark.usefixtures("colab")
def test_runtime_without_tensorflow_is_left_as_it_is(project_needs, monkeypatch):
    project_needs("tensorflow>=2.20", "numpy")
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: real(name if name != "tensorflow" else "not-there"))
    monkeypatch.setattr(session, "install", pytest.fail)
    with pytest.raises(ModuleNotFoundError, match="no TensorFlow: choose a GPU or the CPU"):
        session.start("02")


def test_numpy_leaves_the_second_processor_to_tensorflow(monkeypatch):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    session.start("02")
    assert os.environ.pop("OPENBLAS_NUM_THREADS") == "1"
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    session.start("02")
    assert os.environ["OPENBLAS_NUM_THREADS"] == "4"


def test_bare_python_lacks_what_the_requirements_are_read_with(monkeypatch):
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    assert session.missing_requirements() == ["packaging"]


def test_tensorflow_starts_without_its_log_and_errors_are_shown_again_afterwards(run_python, tmp_path):
    code = (
        "import os, sys; from helpers import session; log = open(sys.argv[1], 'w'); os.dup2(log.fileno(), 2)\n"
        "session.quiet_tensorflow()\n"
        "print('shown again', file=sys.stderr, flush=True); print('tensorflow' in sys.modules)"
    )
    assert run_python(code, tmp_path / "log") == "True"
    assert (tmp_path / "log").read_text() == "shown again\n"
