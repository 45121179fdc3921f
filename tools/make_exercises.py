"""Exercise notebooks from their solutions: `python tools/make_exercises.py` writes notebooks/exercises/ anew.

What stands in a solution's code between `# solution: name, name` and `# end` becomes `# your code here` and
`name = None` for each name, or `...` if there is none. Outputs and Markdown cells tagged `solution` are left out.
"""

import re
import sys
from pathlib import Path

import nbformat
from run_lessons import NOTEBOOKS, lessons, write_atomically

SOLUTIONS, EXERCISES = NOTEBOOKS / "solutions", NOTEBOOKS / "exercises"
MARKED = re.compile(r"^( *)# solution(?:: ([^\n]+))?\n.*?^\1# end$", re.DOTALL | re.MULTILINE)
KEPT_TAGS = ("setup", "parameters")


def blanked(source: str) -> str:
    """A cell's code with a place for the learner's in place of each solution."""

    def place(match: re.Match) -> str:
        indent, names = match[1], match[2]
        lines = [f"{name} = None" for name in names.split(", ")] if names else ["..."]
        return "\n".join(indent + line for line in ["# your code here", *lines])

    return MARKED.sub(place, source)


def exercise(solution: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The exercise notebook of a solution notebook: no solutions, no outputs."""
    notebook = nbformat.from_dict({**solution, "cells": []})
    for cell in solution.cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "markdown" and "solution" in tags:
            continue
        new = nbformat.from_dict({**cell, "metadata": {**cell.metadata, "tags": [t for t in tags if t in KEPT_TAGS]}})
        if cell.cell_type == "code":
            new.update(source=blanked(cell.source), outputs=[], execution_count=None)
        else:
            new.source = cell.source.replace("/notebooks/solutions/", "/notebooks/exercises/")
        notebook.cells.append(new)
    return notebook


def text_of(path: Path) -> str:
    """What the exercise notebook of a solution's file must hold."""
    return nbformat.writes(exercise(nbformat.read(path, as_version=4))) + "\n"


def main() -> int:
    """Write every exercise notebook."""
    EXERCISES.mkdir(exist_ok=True)
    for path in lessons(folder=SOLUTIONS):
        write_atomically(EXERCISES / path.name, text_of(path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
