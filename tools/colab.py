"""Self-contained copies of lessons and exercises, and what ties them to the repository's address.

python tools/colab.py            builds dist/colab/NN_*.ipynb and dist/colab/exercises/NN_*.ipynb: each carries the
                                 helpers and its sample images
python tools/colab.py --lessons  writes setup cells and Colab links anew, in lessons, exercises and README

The repository's address stands in pyproject.toml, its name is "course"; the setup cell's text stands here.
"""

import argparse
import base64
import copy
import hashlib
import io
import re
import sys
import zipfile
from pathlib import Path

import make_exercises
import nbformat
from make_exercises import EXERCISES, SOLUTIONS
from run_lessons import NOTEBOOKS, lessons, write_atomically

from helpers import config
from helpers import lessons as numbers

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

COPIES = config.ROOT / "dist" / "colab"
MOST_BYTES = 6 * 1000 * 1000  # of a copy
CARRIED = ("pyproject.toml", "LICENSE", "data/README.md", "data/datasets.toml", "data/results/networks.json")
SECOND_TEST_SETS = {"05": ("fruits_in_shops",)}  # lesson number to further samples that it uses
OTHER_SETS_OF_EXERCISES = {
    "01": ("beans",),
    "05": ("fruits360", "fruits_in_shops"),
}  # lesson number to its exercises' samples, where they are not the lesson's
PICTURES = {"02": ("data/tensorboard.png",)}  # lesson number to pictures that it shows
COLAB_LINK = re.compile(r"https://colab\.research\.google\.com/github/[\w.-]+/[\w.-]+/blob/")
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)\s]+)")

SETUP = """\
import os, sys

os.path.isdir("{root}/helpers") or os.path.isdir("course") or os.system("git clone -q --depth=1 {address}")  # fmt: skip
sys.path[:0] = ["{root}", "course"]
from helpers import session

{start}
"""
SETUP_OF_COPY = """\
# @title The setup: this cell carries the course's helper package and the lesson's sample images
import base64
import io
import os
import sys
import zipfile

packed = "{packed}"
course = os.path.abspath("{folder}")
if not os.path.isdir(course):
    zipfile.ZipFile(io.BytesIO(base64.b85decode(packed))).extractall(course + ".part")
    os.rename(course + ".part", course)
if course not in sys.path:
    sys.path.insert(0, course)

from helpers import session

{start}
"""
CHOOSE_RUN = '# or "sample", "full"; None: COURSE_RUN decides, else full where there is a GPU'


def address() -> str:
    """The repository's address, from ``pyproject.toml``."""
    project = tomllib.loads((config.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"]


def setup_source(number: str, root: str = "..") -> str:
    """The setup cell of a notebook from which ``root`` leads to the project's folder; exercises have no full run."""
    return SETUP.format(address=address(), root=root, start=start(number, exercises=root != "..")).rstrip()


def start(number: str, exercises: bool) -> str:
    """The setup cell's last line, in which the run of a lesson can be chosen."""
    return f'session.start("{number}")' if exercises else f'session.start("{number}", run=None)  {CHOOSE_RUN}'


def with_colab_links(text: str) -> str:
    """A text whose links to Colab lead to this repository."""
    return COLAB_LINK.sub(
        address().replace("https://github.com", "https://colab.research.google.com/github") + "/blob/", text
    )


def setup_cell(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The cell tagged ``setup``."""
    (cell,) = [cell for cell in notebook.cells if "setup" in cell.metadata.get("tags", [])]
    return cell


def renewed(notebook: nbformat.NotebookNode, number: str, root: str = "..") -> nbformat.NotebookNode:
    """A lesson, or the solutions of exercises, with setup cell and Colab links as they should be."""
    notebook = copy.deepcopy(notebook)
    setup_cell(notebook).source = setup_source(number, root)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = with_colab_links(cell.source)
    return notebook


def sets_of(number: str, exercises: bool = False) -> set[str]:
    """Names of the samples that a lesson, or its exercises, use."""
    if exercises and number in OTHER_SETS_OF_EXERCISES:
        return set(OTHER_SETS_OF_EXERCISES[number])
    return {part.dataset for part in numbers.parts(number, "sample")} | set(SECOND_TEST_SETS.get(number, ()))


def carried(number: str, exercises: bool = False) -> list[Path]:
    """The files that the copy of a lesson, or of its exercises, carries."""
    files = [config.ROOT / name for name in CARRIED] + sorted((config.ROOT / "helpers").glob("*.py"))
    files += [config.ROOT / name for name in PICTURES.get(number, ())]
    files += sorted(config.RESULTS.glob(f"{number}_*.json"))
    datasets = sorted(sets_of(number, exercises))
    return files + [path for name in datasets for path in sorted((config.SAMPLES / name).rglob("*.*"))]


def packed(files: list[Path]) -> bytes:
    """A zip archive of files with their places in the project; the same files give the same bytes."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for path in files:
            entry = zipfile.ZipInfo(path.relative_to(config.ROOT).as_posix())
            opened.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return archive.getvalue()


def self_contained(path: Path) -> nbformat.NotebookNode:
    """A lesson, or exercises, with the course inside; its links lead to the repository."""
    notebook, number = nbformat.read(path, as_version=4), path.name[:2]
    content = packed(carried(number, exercises=path.parent == EXERCISES))
    folder = f"course-{number}-{hashlib.sha256(content).hexdigest()[:8]}"
    cell = setup_cell(notebook)
    last = start(number, exercises=path.parent == EXERCISES)
    cell.source = SETUP_OF_COPY.format(packed=base64.b85encode(content).decode(), folder=folder, start=last).rstrip()
    cell.metadata |= {
        "cellView": "form",
        "jupyter": {"source_hidden": True},
    }  # Colab's and JupyterLab's word for folded
    for each in notebook.cells:
        if each.cell_type == "code":  # outputs are left out: the photographs need the room
            each.outputs, each.execution_count = [], None
        if each.cell_type == "markdown":
            each.source = LINK.sub(lambda found: found[1] + _in_repository(path.parent / found[2]), each.source)
    return notebook


def _in_repository(link: Path) -> str:
    """The address of what a notebook links to."""
    name, _, anchor = str(link).partition("#")
    place = Path(name).resolve().relative_to(config.ROOT).as_posix()
    return f"{address()}/blob/main/{place}" + (f"#{anchor}" if anchor else "")


def main(arguments: list[str] | None = None) -> int:
    """Build the copies, or renew the lessons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lessons", action="store_true", help="renew setup cells and Colab links instead")
    if parser.parse_args(arguments).lessons:
        for path in [*lessons(), *lessons(folder=SOLUTIONS)]:
            root = ".." if path.parent == NOTEBOOKS else "../.."
            notebook = renewed(nbformat.read(path, as_version=4), path.name[:2], root)
            write_atomically(path, nbformat.writes(notebook) + "\n")
        make_exercises.main()
        readme = config.ROOT / "README.md"
        write_atomically(readme, with_colab_links(readme.read_text(encoding="utf-8")))
        return 0
    (COPIES / "exercises").mkdir(parents=True, exist_ok=True)
    for path in [*lessons(), *lessons(folder=EXERCISES)]:
        place = COPIES / path.relative_to(NOTEBOOKS)
        text = nbformat.writes(self_contained(path)) + "\n"
        if (size := len(text.encode())) > MOST_BYTES:
            sys.exit(
                f"The copy of {path.name} has {size / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f}: reduce its sample."
            )
        write_atomically(place, text)
        print(f"{place.relative_to(config.ROOT)}: {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
