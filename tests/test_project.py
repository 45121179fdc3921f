"""The project's own files: one list of packages, commands that exist, who imports whom, nothing left behind."""

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import measured
import nbformat
import pandas as pd
import pytest
import run
import yaml

from helpers import config, evaluation

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = config.ROOT
HEAVY = {"tensorflow", "keras", "tf_keras", "tensorflow_hub"}
LIGHT_MODULES = (
    "helpers",
    "helpers.config",
    "helpers.lessons",
    "helpers.session",
    "helpers.evaluation",
    "helpers.plotting",
    "helpers.downloads",
    "helpers.checks",
    "helpers.quiz",
    "helpers.predict",
)
MODULES = sorted((ROOT / "helpers").glob("*.py"))
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:root|work)/")
UNSAFE = re.compile(r"safe_mode\\?\"?\s*[=:]\s*False|allow_pickle\\?\"?\s*[=:]\s*True")
LINK = re.compile(r"\]\(\s*([^)\s]+)[^)]*\)|(?:href|src)=[\"']([^\"']+)")


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def package_name(requirement):
    """``PyYAML >=6 ; marker`` to ``pyyaml``."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


@pytest.fixture(scope="module")
def project():
    return tomllib.loads(read("pyproject.toml"))["project"]


@pytest.fixture(scope="module")
def readme():
    if not (ROOT / "README.md").is_file():
        pytest.skip("README.md is not there")
    return read("README.md")


# Packages


@pytest.fixture(scope="module")
def conda_packages():
    """What environment.yml lists for conda, and what for pip."""
    entries = yaml.safe_load(read("environment.yml"))["dependencies"]
    by_pip = [package for entry in entries if isinstance(entry, dict) for package in entry["pip"]]
    return [entry for entry in entries if isinstance(entry, str)], by_pip


def test_environment_installs_this_project_by_pip(conda_packages):
    _, by_pip = conda_packages
    assert any(re.fullmatch(r"-e \.\[[\w,]+\]", entry) for entry in by_pip)


def test_environment_lists_no_package_that_pyproject_lists(project, conda_packages):
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    listed = {package_name(requirement) for group in groups for requirement in group}
    by_conda, by_pip = conda_packages
    named = {package_name(entry) for entry in by_conda + by_pip if not entry.startswith("-")}
    assert not named & listed


def test_environment_and_pyproject_ask_for_the_same_python(project, conda_packages):
    by_conda, _ = conda_packages
    (pin,) = [entry for entry in by_conda if package_name(entry) == "python"]
    assert pin.removeprefix("python").strip() == project["requires-python"]


def test_conda_and_make_install_the_same_extras_and_the_project_has_them(project, conda_packages):
    (by_conda,) = [re.search(r"\[(.+)\]", entry)[1] for entry in conda_packages[1]]
    by_make = re.search(r"--editable '\.\[(.+)\]'", read("Makefile"))[1]
    assert by_conda == by_make
    assert set(by_make.split(",")) <= set(project["optional-dependencies"])


def test_lessons_and_helpers_import_only_what_colab_would_install(project):
    """What the first cell installs are the dependencies; what another extra brings may be missing there."""
    distributions = metadata.packages_distributions()
    listed = {package_name(requirement) for requirement in project["dependencies"]}
    sources = [path.read_text(encoding="utf-8") for path in MODULES]
    for path in (ROOT / "notebooks").rglob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        sources += [re.sub(r"(?m)^%.*$", "", cell.source) for cell in cells if cell.cell_type == "code"]
    names = {name.partition(".")[0] for code in sources for name in imports(ast.parse(code), inside_functions=True)}
    names -= sys.stdlib_module_names | {"helpers", "google", "tomli"}
    names -= {"ai_edge_litert", "ipywidgets"}  # used where they are there
    assert {"keras", "pooch"} <= names
    assert [name for name in names if not {package_name(found) for found in distributions[name]} & listed] == []


def test_distribution_is_not_named_like_the_package_helpers_on_pypi(project):
    assert package_name(project["name"]) != "helpers"


# Commands


@pytest.mark.parametrize("target", ["run", "test", "exercises", "colab", "test-colab", "bench", "lab", "data"])
def test_makefile_has_the_target_and_its_help(target):
    assert re.search(rf"^{target}:.*## \S", read("Makefile"), re.MULTILINE)


def test_ci_calls_the_test_command():
    assert re.search(r"^make test$", read(".ci/run"), re.MULTILINE)


def test_the_test_command_lints_too():
    assert re.search(r"^test:.*\blint\b", read("Makefile"), re.MULTILINE)


def test_workflow_runs_targets_that_the_makefile_has():
    workflow = yaml.safe_load(read(".github/workflows/tests.yml"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    targets = {step["run"].removeprefix("make ") for step in steps if "run" in step}
    assert {"test", "test-colab"} <= targets
    assert all(re.search(rf"^{target}:", read("Makefile"), re.MULTILINE) for target in targets)
    assert {"pull_request", "schedule"} <= set(workflow[True])  # YAML reads `on` as true


@pytest.mark.parametrize("command", ["make run", "make test"])
def test_readme_names_the_command(readme, command):
    assert command in readme


def test_readme_links_resolve(readme):
    links = [match[1] or match[2] for match in LINK.finditer(readme)]
    relative = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in relative if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("folder", [".venv", "build", "data/downloads"])
def test_git_ignores(folder):
    assert folder in [line.strip("/") for line in read(".gitignore").splitlines()]


# Imports


def module_name(path):
    return "helpers" if path.stem == "__init__" else f"helpers.{path.stem}"


def imports(tree, inside_functions):
    """Names of all modules that a module may import; ``from a import b`` gives ``a`` and ``a.b``."""
    names, nodes = set(), [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "helpers" + (f".{node.module}" if node.module else "") if node.level else node.module
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
        if inside_functions or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            nodes += ast.iter_child_nodes(node)
    return names


def imported_with(module, sources):
    """Names of all modules that importing ``module`` imports, through other modules of ``sources`` too."""
    found, waiting = set(), {module, module.partition(".")[0]}
    while waiting:
        name = waiting.pop()
        found.add(name)
        if name in sources:
            waiting |= imports(ast.parse(sources[name]), inside_functions=False) - found
    return found


def heavy(names):
    return {name for name in names if name.partition(".")[0] in HEAVY}


@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_light_module_imports_no_tensorflow(module):
    sources = {module_name(path): path.read_text(encoding="utf-8") for path in MODULES}
    assert module in sources
    assert heavy(imported_with(module, sources)) == set()


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_helpers_import_neither_tools_nor_tests(path):
    names = imports(ast.parse(path.read_text(encoding="utf-8")), inside_functions=True)
    assert {name for name in names if name.partition(".")[0] in {"tools", "tests", "notebooks"}} == set()


def test_a_heavy_import_is_found_directly_and_through_another_module_but_not_in_a_function():
    sources = {
        "helpers.a": "from helpers import b\nfrom . import c",
        "helpers.b": "def f():\n    import keras",
        "helpers.c": "try:\n    from tensorflow.data import Dataset\nexcept ImportError:\n    pass",
    }
    assert heavy(imported_with("helpers.a", sources)) == {"tensorflow.data", "tensorflow.data.Dataset"}
    assert heavy(imported_with("helpers.b", sources)) == set()


# Nothing left behind, nothing unsafe


def tracked_texts():
    """Path and text of every file that git tracks, without images."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.suffix not in {".jpg", ".png"} and path.is_file():
            yield name, path.read_text(encoding="utf-8", errors="replace")


def test_no_tracked_file_names_a_folder_of_a_machine():
    assert [name for name, text in tracked_texts() if MACHINE_PATH.search(text)] == []


def test_nothing_loads_code_from_files():
    paths = [
        path
        for folder in ("helpers", "tools", "benchmarks", "notebooks")
        for path in Path(ROOT, folder).rglob("*")
        if path.is_file()
    ]
    texts = {path: path.read_text(encoding="utf-8") for path in paths if path.suffix in {".py", ".ipynb"}}
    assert [str(path) for path, text in texts.items() if UNSAFE.search(text)] == []


def test_the_searches_find_what_they_are_for():
    assert MACHINE_PATH.search("open('/" + "root/x')")
    assert MACHINE_PATH.search("/" + "work/main")
    assert not MACHINE_PATH.search("https://example.org/" + "work/x")
    assert UNSAFE.search("load_model(path, safe_mode = " + "False)")
    assert UNSAFE.search("np.load(path, allow_pickle=" + "True)")


# Measured results


SHOW_RECORDED = [path for path in measured.lessons() if "evaluation.recorded(" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", SHOW_RECORDED, ids=[path.stem[:2] for path in SHOW_RECORDED])
def test_a_lessons_table_of_recorded_results_is_that_of_the_measured_results(path):
    def shown(notebook):  # cell by cell, since versions of pandas differ in what is around them
        pages = [output.data.get("text/html", "") for output in notebook.outputs]
        return re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", "".join(pages))

    cells = nbformat.read(path, as_version=4).cells
    (cell,) = [cell for cell in cells if "evaluation.recorded(" in cell.source]
    stored = shown(cell)
    measured.with_recorded(nbformat.v4.new_notebook(cells=[cell]))
    assert stored == shown(cell), "run tools/measured.py"


def test_a_lessons_table_follows_the_files(monkeypatch):
    cell = nbformat.v4.new_code_cell('evaluation.recorded("02")', execution_count=3)
    monkeypatch.setattr(evaluation, "recorded", lambda lesson: pd.DataFrame({"sample": {"of lesson": lesson}}))
    measured.with_recorded(nbformat.v4.new_notebook(cells=[cell]))
    (output,) = cell.outputs
    assert output.data["text/plain"].split() == ["sample", "of", "lesson", "02"]
    assert "<td>02</td>" in output.data["text/html"]
    assert output.execution_count == 3


def test_the_readmes_tables_are_those_of_the_measured_results(readme):
    assert measured.renewed(readme) == readme, "run tools/measured.py"


def test_every_lesson_is_in_the_readmes_table():
    assert sorted(measured.SHOWN) == [path.name[:2] for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))]


def test_tables_show_interval_and_count_and_of_several_runs_the_lowest_median():
    figures = {"test_accuracy": "85.8% (95 % interval 83.5% to 87.8%, 858 of 1000)", "linear_probe": "86.7%"}
    result = {
        "lesson": "02",
        "run": "full",
        "backbone": "B",
        "seconds": 9,
        "figures": {**figures, "CNN_from_scratch": "1%"},
    }
    (row,) = [line for line in measured.lessons_table({"a.json": result}).splitlines() if line.startswith("| 02")]
    assert row == (
        "| 02 ten foods | not run yet | [B](data/results/a.json), 9 s: "
        "frozen 85.8% (83.5 to 87.8, n = 1000); linear probe 86.7%; scratch 1% |"
    )
    runs = [run.compared([usual], [1.0], "what") for usual in (3.0, 2.0)]
    assert measured.benchmarks_table({"x": runs}).splitlines()[-1] == "| x | 2 s | 1 s | 2.0 | 2.0 to 3.0 (2) |"


def test_a_readme_that_has_lost_a_tables_place_is_refused(readme):
    with pytest.raises(ValueError, match="no place for the table of benchmarks"):
        measured.renewed(readme.replace("<!-- end of benchmarks -->", ""))


def test_readme_quotes_no_result_without_a_file(readme):
    quoted = re.findall(r"\(data/results/([^)]+\.json)\)", readme)
    assert quoted
    assert all((config.RESULTS / name).is_file() for name in quoted)
