"""What a lesson's first cell does, on stand-ins for Colab, GPUs, pip's index and the network."""

import builtins
import importlib.metadata
import os
import sys
import types
import zipfile
from pathlib import Path

import pytest
import requests

from helpers import config, downloads, session


@pytest.fixture
def colab(monkeypatch, tmp_path):
    """Pretend to be on Colab; returns the list of places where Drive was mounted."""
    mounted = []
    module, drive = types.ModuleType("google.colab"), types.ModuleType("google.colab.drive")
    drive.mount = mounted.append
    module.drive = drive
    monkeypatch.setitem(sys.modules, "google.colab", module)
    monkeypatch.setitem(sys.modules, "google.colab.drive", drive)
    monkeypatch.setattr(session, "_KEEP", str(tmp_path / "Drive" / "course"))
    return mounted


@pytest.fixture
def full_by_default(monkeypatch):
    monkeypatch.setattr(config, "_run_for_this_machine", lambda: "full")


@pytest.fixture
def project_needs(monkeypatch, tmp_path):
    """A function that sets what ``pyproject.toml`` depends on."""
    (tmp_path / "root").mkdir()
    monkeypatch.setattr(config, "ROOT", tmp_path / "root")

    def needs(*requirements):
        (tmp_path / "root" / "pyproject.toml").write_text(f"[project]\ndependencies = {list(requirements)}\n")

    return needs


@pytest.fixture
def answer(monkeypatch):
    """A function that sets what the learner types, an exception if nobody does; returns the questions."""
    asked = []

    def answers(text):
        def ask(question):
            asked.append(question)
            if isinstance(text, Exception):
                raise text
            return text

        monkeypatch.setattr(builtins, "input", ask)
        return asked

    return answers


def test_start_says_what_this_machine_is_and_changes_nothing_the_second_time(capsys):
    session.start("02")
    first, environment = capsys.readouterr().out, dict(os.environ)
    session.start("02")
    assert dict(os.environ) == environment
    assert len(first.splitlines()) == len(capsys.readouterr().out.splitlines()) == 3
    for package in ("tensorflow", "keras"):
        assert f"{package} {importlib.metadata.version(package)}" in first
    assert "no GPU" in first
    assert "This is the sample run" in first


def test_nothing_is_missing_where_the_tests_run():
    assert session.unmet_requirements() == ([], [])


def test_missing_and_unfit_packages_are_told_apart(project_needs):
    project_needs("numpy", "surely-not-there==1.0", "tomli; python_version < '3'", "keras<3", "gone>=2")
    missing, unfit = session.unmet_requirements()
    assert missing == ["surely-not-there==1.0", "gone>=2"]
    (sentence,) = unfit
    assert sentence == f"keras {importlib.metadata.version('keras')} is here; the course asks for <3."


def test_missing_package_off_colab_stops_with_the_remedy_and_installs_nothing(project_needs, monkeypatch):
    project_needs("surely-not-there>=1")
    monkeypatch.setattr(session, "install", pytest.fail)
    with pytest.raises(ModuleNotFoundError, match=r"`make setup` made.*`pip install 'surely-not-there>=1'`"):
        session.start("02")


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


def test_installing_brings_no_other_package_along(index):
    links, installed = index
    write_wheel(links, "wanted", requires="Requires-Dist: numpy==1.0\nRequires-Dist: other\n")
    write_wheel(links, "other")
    assert session.install(["wanted==1.0"]) == "Installed wanted==1.0; nothing else was changed."
    assert sorted(path.name for path in installed.iterdir() if path.suffix == ".py") == ["wanted.py"]


def test_what_cannot_be_installed_is_said_with_the_reason(index):
    said = session.install(["wanted==1.0"])
    assert said.startswith("Could not install wanted==1.0 (No matching distribution found for wanted==1.0)")
    assert not index[1].exists()


def test_colab_installs_what_is_missing_the_first_time_and_nothing_the_second(
    index, project_needs, monkeypatch, colab, capsys
):
    links, installed = index
    write_wheel(links, "wanted")
    project_needs("numpy", "wanted==1.0")
    monkeypatch.syspath_prepend(str(installed))
    session.start("02")
    assert capsys.readouterr().out.startswith("Installed wanted==1.0; nothing else was changed.\nPython")
    before = {path: path.stat().st_mtime_ns for path in installed.rglob("*") if "__pycache__" not in path.parts}
    session.start("02")
    assert capsys.readouterr().out.startswith("Python")
    after = {path: path.stat().st_mtime_ns for path in installed.rglob("*") if "__pycache__" not in path.parts}
    assert before == after


def test_colab_goes_on_without_what_it_could_not_install(index, project_needs, colab, capsys):
    project_needs("numpy", "wanted==1.0")
    session.start("02")
    said = capsys.readouterr().out
    assert said.startswith("Could not install wanted==1.0 (")
    assert "This is the sample run" in said


def test_runtime_without_tensorflow_is_left_as_it_is(project_needs, monkeypatch, colab):
    project_needs("tensorflow>=2.20", "numpy")
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: real(name if name != "tensorflow" else "not-there"))
    monkeypatch.setattr(session, "install", pytest.fail)
    with pytest.raises(ModuleNotFoundError, match="no TensorFlow: choose a GPU or the CPU"):
        session.start("02")


def test_no_connection_is_told_from_a_package_that_is_not_there(monkeypatch):
    said = "WARNING: Retrying after connection broken by …\nERROR: No matching distribution found for wanted"
    ended = types.SimpleNamespace(returncode=1, stderr=said)
    monkeypatch.setattr(session.subprocess, "run", lambda *arguments, **options: ended)
    assert "Could not install wanted (no connection to the package index)" in session.install(["wanted"])


def test_bare_python_lacks_what_the_requirements_are_read_with(monkeypatch):
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    assert session.unmet_requirements() == (["packaging"], [])


# Which run


@pytest.fixture
def network(monkeypatch):
    """Hosts that were asked; those in ``silent`` do not answer."""
    found = types.SimpleNamespace(asked=[], silent=set())

    def head(address, timeout):
        found.asked.append(address)
        if address in found.silent:
            raise requests.ConnectionError

    monkeypatch.setattr(requests, "head", head)
    return found


@pytest.mark.parametrize("lesson", config.LESSONS)
def test_full_run_needs_the_hosts_of_its_images_and_weights(lesson, network, monkeypatch, tmp_path):
    monkeypatch.setattr(config, "DOWNLOADS", tmp_path)
    settings = config.settings(lesson, "full")
    session.unreachable([settings])
    hosts = {"/".join(address.split("/")[:3]) for address in downloads.addresses(settings.dataset)}
    hosts |= {"https://www.kaggle.com"} if settings.hub_models else {"https://storage.googleapis.com"}
    assert set(network.asked) == hosts
    assert len(network.asked) == len(hosts)  # each is asked once


def test_images_that_are_there_and_weights_that_pip_installed_need_no_host(network, monkeypatch, tmp_path):
    monkeypatch.setattr(config, "DOWNLOADS", tmp_path)
    (tmp_path / "food10").mkdir()
    monkeypatch.setenv("COURSE_BACKBONE", "efficientnet-lite0")
    assert session.unreachable([config.settings("02", "full")]) == []
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    assert session.unreachable([config.settings("03", "full")]) == []
    assert network.asked == []


def test_closed_port_is_no_answer(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "DOWNLOADS", tmp_path)
    monkeypatch.setenv("COURSE_BACKBONE", "efficientnet-lite0")
    monkeypatch.setattr(downloads, "addresses", lambda name: ["http://127.0.0.1:9/food.zip"])
    assert session.unreachable([config.settings("02", "full")]) == ["127.0.0.1:9"]


def test_without_network_the_hardwares_full_run_becomes_the_sample_run(full_by_default, network, monkeypatch, capsys):
    network.silent = {"https://www.kaggle.com"}
    monkeypatch.setattr(config, "DOWNLOADS", config.BUILD / "not there")
    monkeypatch.setenv("COURSE_RUN", "")  # put back afterwards
    session.start("02")
    said = capsys.readouterr().out
    assert said.startswith("No answer from www.kaggle.com, which the full run would fetch images or weights from.")
    assert "This is the sample run" in said
    assert config.settings("02").run == "sample"
    session.start("02")
    assert "No answer from www.kaggle.com" in capsys.readouterr().out  # it says so again
    assert config.settings("02").run == "sample"
    network.silent.clear()
    session.start("02")
    assert "This is the full run" in capsys.readouterr().out
    assert config.settings("02").run == "full"


def test_with_network_the_hardwares_full_run_stays(full_by_default, network, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(config, "DOWNLOADS", tmp_path)
    session.start("05")
    assert "This is the full run" in capsys.readouterr().out
    assert "COURSE_RUN" not in os.environ
    assert {"https://github.com", "https://storage.googleapis.com"} <= set(network.asked)  # both of its data sets


def test_full_run_that_was_asked_for_stays_whatever_the_network(network, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_RUN", "full")
    session.start("02")
    assert network.asked == []
    assert "This is the full run" in capsys.readouterr().out


# Google Drive


@pytest.fixture(autouse=True)
def keep_is_forgotten(monkeypatch):
    monkeypatch.setitem(os.environ, "COURSE_KEEP", "")  # put back afterwards
    del os.environ["COURSE_KEEP"]


def test_drive_is_offered_once_and_used_if_wanted(colab, answer, tmp_path):
    asked = answer("Yes")
    session.offer_drive()
    session.offer_drive()
    assert len(asked) == 1
    assert colab == ["/content/drive"]
    assert config.keep_folder() == tmp_path / "Drive" / "course"


def test_drive_that_is_there_already_is_used_without_a_question(colab, answer, tmp_path):
    asked = answer("n")
    (tmp_path / "Drive" / "course").mkdir(parents=True)  # it outlives a kernel that is restarted
    session.offer_drive()
    assert asked == []
    assert config.keep_folder() == tmp_path / "Drive" / "course"


@pytest.mark.parametrize("said", ["", "n", EOFError(), NotImplementedError()], ids=["enter", "n", "nobody", "no input"])
def test_drive_is_never_required(colab, answer, said):
    asked = answer(said)
    session.offer_drive()
    session.offer_drive()
    assert len(asked) == 1
    assert colab == []
    assert config.keep_folder() is None


def test_drive_that_cannot_be_mounted_is_said_and_gone_without(colab, answer, monkeypatch, capsys):
    def refuse(place):
        raise ValueError("mount failed")

    monkeypatch.setattr(sys.modules["google.colab.drive"], "mount", refuse)
    answer("y")
    session.offer_drive()
    assert capsys.readouterr().out.endswith("Google Drive is not there (mount failed): going on without it.\n")
    assert config.keep_folder() is None


@pytest.mark.parametrize(("run", "times"), [("full", 1), ("sample", 0)])
def test_drive_is_offered_for_the_full_run_only(colab, answer, monkeypatch, run, times):
    monkeypatch.setenv("COURSE_RUN", run)
    asked = answer("n")
    session.start("02")
    assert len(asked) == times


def test_drive_is_not_offered_off_colab(answer, monkeypatch):
    monkeypatch.setenv("COURSE_RUN", "full")
    asked = answer("y")
    session.start("02")
    assert asked == []


# What is kept


@pytest.fixture
def lasting(monkeypatch, tmp_path):
    (tmp_path / "lasting").mkdir()
    monkeypatch.setenv("COURSE_KEEP", str(tmp_path / "lasting"))
    return tmp_path / "lasting"


def test_file_is_kept_and_fetched_back_where_it_is_gone(lasting, tmp_path):
    model = tmp_path / "model.keras"
    model.write_text("first")
    session.keep(model, "models")
    model.write_text("second")
    session.keep(model, "models", renew=False)
    assert (lasting / "models" / "model.keras").read_text() == "first"
    session.fetch_kept(model, "models")
    assert model.read_text() == "second"  # it is here, so it stays
    session.keep(model, "models")
    model.unlink()
    session.fetch_kept(model, "models")
    assert model.read_text() == "second"
    assert [path.name for path in (lasting / "models").iterdir()] == ["model.keras"]


def test_without_a_folder_to_keep_it_in_nothing_is_copied(tmp_path):
    (tmp_path / "model.keras").write_text("first")
    session.keep(tmp_path / "model.keras", "models")
    session.fetch_kept(tmp_path / "other.keras", "models")
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_full_drive_is_said_and_what_was_kept_stays(lasting, monkeypatch, tmp_path, capsys, kind):
    thing = tmp_path / "thing"
    thing.write_text("new") if kind == "file" else thing.mkdir()
    (lasting / "kind").mkdir()
    (lasting / "kind" / "thing").write_text("old")

    def no_room(source, target):
        Path(target).write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(session.shutil, "copyfile" if kind == "file" else "copytree", no_room)
    session.keep(thing, "kind")
    said = capsys.readouterr().out
    assert said == f"thing could not be copied to {lasting / 'kind'} (No space left on device): going on without.\n"
    assert [path.name for path in (lasting / "kind").iterdir()] == ["thing"]
    assert (lasting / "kind" / "thing").read_text() == "old"


def test_tensorflow_starts_without_its_log_and_errors_are_shown_again_afterwards(run_python, tmp_path):
    code = (
        "import os, sys; from helpers import session; log = open(sys.argv[1], 'w'); os.dup2(log.fileno(), 2)\n"
        "session.quiet_tensorflow()\n"
        "print('shown again', file=sys.stderr, flush=True); print('tensorflow' in sys.modules)"
    )
    assert run_python(code, tmp_path / "log") == "True"
    assert (tmp_path / "log").read_text() == "shown again\n"
