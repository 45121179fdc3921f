"""The stored lessons: complete outputs, the course's form, and numbers that are really checked.

Each function of ``CHECKS`` takes a lesson and returns its complaints, one sentence each; an empty list is a pass.
"""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from helpers import config

LESSONS = sorted((config.ROOT / "notebooks").glob("[0-9]*.ipynb"))
SOLUTIONS = sorted((config.ROOT / "notebooks" / "solutions").glob("[0-9]*.ipynb"))
TAGS = {
    "setup",
    "parameters",
    "nbval-check-output",
    "nbval-ignore-output",
    "plain",
    "raises-exception",
    "solution",
    "nbval-skip",
}
MOST_BYTES = 600 * 1000
MOST_LINES = 20
MOST_PLAIN_LINES = 35  # of the cell that holds the whole thing in plain Keras
FEWEST_CHECKED = 3
MOST_BEFORE_PICTURES = 3  # setup, imports, settings
SHARED = ("callbacks", "data", "evaluation", "models", "plotting")
ASSERTED = re.compile(r"^\s*assert\b.*\btest")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:root|home|tmp|work)/|[A-Za-z]:\\+Users")
FENCED = re.compile(r"^```.*?^```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(\s*([^)\s]+)[^)]*\)|(?:href|src)=[\"']([^\"']+)")
IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)|<img[^>]+src=[\"']([^\"']+)")
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
COLAB = re.compile(r"https://colab\.research\.google\.com/github/[\w.-]+/[\w.-]+/blob/[\w.-]+/notebooks/([\w./-]+)")


@dataclasses.dataclass
class Lesson:
    """A lesson's file and what it holds."""

    path: Path
    notebook: nbformat.NotebookNode

    @property
    def code(self):
        return [cell for cell in self.notebook.cells if cell.cell_type == "code" and cell.source.strip()]

    @property
    def markdown(self):
        return [cell for cell in self.notebook.cells if cell.cell_type == "markdown"]


def tags(cell):
    return set(cell.metadata.get("tags", []))


def first_group(match):
    return next(group for group in match.groups() if group)


def prose(cell):
    """A markdown cell without its code."""
    return FENCED.sub("", cell.source)


def execution_counts(lesson):
    counts = [cell.execution_count for cell in lesson.code]
    return [] if counts == [*range(1, len(counts) + 1)] else [f"execution counts are {counts}, not 1 to {len(counts)}"]


def checked_outputs(lesson):
    checked = [cell for cell in lesson.code if "nbval-check-output" in tags(cell)]
    empty = [f"a cell whose output is checked has none: {cell.source[:60]!r}" for cell in checked if not cell.outputs]
    few = len(checked) - len(empty) < FEWEST_CHECKED
    return empty + [f"only {len(checked) - len(empty)} cells have checked outputs"] * few


def known_tags(lesson):
    return [f"unknown tag {tag!r}" for cell in lesson.notebook.cells for tag in sorted(tags(cell) - TAGS)]


def setup_and_parameters(lesson):
    tagged = {tag: [cell for cell in lesson.code if tag in tags(cell)] for tag in ("setup", "parameters")}
    wrong = [f"{len(cells)} cells tagged {tag}, not 1" for tag, cells in tagged.items() if len(cells) != 1]
    first = bool(lesson.code) and "setup" in tags(lesson.code[0])
    return wrong + ["the first code cell is not the one tagged setup"] * (not first)


def no_stderr(lesson):
    outputs = [output for cell in lesson.code for output in cell.outputs]
    return [f"stored stderr: {output.text[:80]!r}" for output in outputs if output.get("name") == "stderr"]


def errors_only_where_meant(lesson):
    complaints = []
    for cell in lesson.code:
        raised = [output.ename for output in cell.outputs if output.output_type == "error"]
        meant = "raises-exception" in tags(cell)
        if raised and not meant:
            complaints.append(f"{raised[0]} in a cell without the tag raises-exception")
        if meant and not raised:
            complaints.append(f"a cell tagged raises-exception raised nothing: {cell.source[:60]!r}")
    return complaints


def no_machine_path(lesson):
    found = [MACHINE_PATH.search(COLOURS.sub("", text)) for text in all_texts(lesson.notebook)]
    return [f"a path of a machine: {match.string[match.start() :][:80]!r}" for match in found if match]


def all_texts(node):
    """Every string of a notebook but its images, in which any letters may follow one another."""
    if isinstance(node, str):
        yield node
    for name, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        if not str(name).startswith("image/"):
            yield from all_texts(value)


def size(lesson):
    size = len(nbformat.writes(lesson.notebook).encode())
    return [f"{size / 1024:.0f} KB, more than {MOST_BYTES // 1024}"] * (size > MOST_BYTES)


def short_code_cells(lesson):
    complaints = []
    for cell in lesson.code:
        n = sum(bool(line.strip()) for line in cell.source.splitlines())
        if n > (MOST_PLAIN_LINES if "plain" in tags(cell) else MOST_LINES):
            complaints.append(f"{n} lines in the cell {cell.source[:60]!r}")
    return complaints


def shows_picture(cell):
    return any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {}))


def figures_have_alternative_text(lesson):
    shown = [cell for cell in lesson.code if shows_picture(cell)]
    return [f"a figure without alt text: {cell.source[:60]!r}" for cell in shown if not cell.metadata.get("alt")]


def photographs_come_early(lesson):
    """At most three code cells before the first picture: a learner came for the pictures."""
    before = next((i for i, cell in enumerate(lesson.code) if shows_picture(cell)), len(lesson.code))
    return [f"{before} code cells before the first picture"] * (before > MOST_BEFORE_PICTURES)


def shared_helpers(lesson):
    """Every lesson imports the shared modules."""
    source = "\n".join(cell.source for cell in lesson.code)
    return [f"helpers.{name} is not used" for name in SHARED if not re.search(rf"\b{name}\.\w", source)]


def plain_cell(lesson):
    plain = [cell for cell in lesson.code if "plain" in tags(cell)]
    return [] if len(plain) == 1 else [f"{len(plain)} cells tagged plain, not 1"]


def no_assertion_on_a_test_result(lesson):
    found = [line.strip() for cell in lesson.code for line in cell.source.splitlines() if ASSERTED.search(line)]
    return [f"an assertion on a test result: {line}" for line in found if "scratch" not in line]


def title_and_badge(lesson):
    first = lesson.notebook.cells[0]
    titled = first.cell_type == "markdown" and re.search(r"^# \S", first.source, re.MULTILINE)
    place = lesson.path.as_posix().rpartition("notebooks/")[2]
    named = BADGE in first.source and place in COLAB.findall(first.source)
    return ["no title in the first cell"] * (not titled) + [f"no Colab badge for {lesson.path.name}"] * (not named)


def promise_and_summary(lesson):
    opens = any("You will" in cell.source for cell in lesson.markdown[:4])
    closes = any("You have" in cell.source for cell in lesson.markdown[-4:])
    return ['no "You will" in the first cells'] * (not opens) + ['no "You have" in the last cells'] * (not closes)


def links_resolve(lesson):
    links = [first_group(match) for cell in lesson.markdown for match in LINK.finditer(prose(cell))]
    relative = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    return [f"a link leads nowhere: {link}" for link in relative if not (lesson.path.parent / link).exists()]


def no_pictures_in_prose(lesson):
    pictures = [first_group(match) for cell in lesson.markdown for match in IMAGE.finditer(prose(cell))]
    attached = ["a picture is attached to prose" for cell in lesson.markdown if cell.get("attachments")]
    return attached + [f"a picture in prose: {picture}" for picture in pictures if picture != BADGE]


CHECKS = (
    execution_counts,
    checked_outputs,
    known_tags,
    setup_and_parameters,
    no_stderr,
    errors_only_where_meant,
    no_machine_path,
    size,
    short_code_cells,
    figures_have_alternative_text,
    photographs_come_early,
    shared_helpers,
    plain_cell,
    no_assertion_on_a_test_result,
    title_and_badge,
    promise_and_summary,
    links_resolve,
    no_pictures_in_prose,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_stored_lesson(path, check):
    assert check(Lesson(path, nbformat.read(path, as_version=4))) == []


LESSONS_ALONE = {setup_and_parameters, shared_helpers, plain_cell, promise_and_summary}
CHECKS_OF_SOLUTIONS = tuple(check for check in CHECKS if check not in LESSONS_ALONE)


@pytest.mark.parametrize("check", CHECKS_OF_SOLUTIONS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_stored_solutions(path, check):
    assert check(Lesson(path, nbformat.read(path, as_version=4))) == []


# The checks themselves


def code_cell(source, *outputs, count=None, tagged=()):
    return v4.new_code_cell(source, outputs=list(outputs), execution_count=count, metadata={"tags": list(tagged)})


def figure_cell(source, count):
    cell = code_cell(source, v4.new_output("display_data", {"image/png": "AAAA"}), count=count)
    cell.metadata["alt"] = "a curve that rises"
    return cell


def number_shown(text, count):
    return v4.new_output("execute_result", {"text/plain": text}, execution_count=count)


@pytest.fixture
def good(tmp_path):
    """A made-up lesson that every check passes."""
    path = tmp_path / "notebooks" / "01_theory.ipynb"
    path.parent.mkdir()
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers" / "data.py").touch()
    address = f"https://colab.research.google.com/github/someone/course/blob/main/notebooks/{path.name}"
    cells = [
        v4.new_markdown_cell(f"# 01 · Theory\n\n[![Open in Colab]({BADGE})]({address})"),
        v4.new_markdown_cell("**You will** see [the helper](../helpers/data.py#L1) and `[no](link)`, [below](#data)."),
        code_cell("import os", count=1, tagged=["setup"]),
        code_cell("RUN = None", count=2, tagged=["parameters"]),
        code_cell(""),
        figure_cell("plotting.show(data.a, models.b, evaluation.c, callbacks.d)", count=3),
        code_cell("folder = 'x'", count=4, tagged=["plain"]),
        *(code_cell(f"{n} + 0", number_shown(str(n), n), count=n, tagged=["nbval-check-output"]) for n in (5, 6, 7)),
        v4.new_markdown_cell("**You have** seen it."),
    ]
    return Lesson(path, v4.new_notebook(cells=cells))


def append_output(lesson, output):
    lesson.code[-1].outputs.append(output)


def append_error(lesson):
    append_output(lesson, v4.new_output("error", ename="ValueError", evalue="no", traceback=[]))


def append_text(lesson, text):
    lesson.markdown[1].source += text


SPOILT = [
    (execution_counts, lambda x: x.code[1].update(execution_count=7)),
    (execution_counts, lambda x: x.code[1].update(execution_count=None)),
    (checked_outputs, lambda x: x.code[-1].update(outputs=[])),
    (checked_outputs, lambda x: x.code[-1].metadata.update(tags=[])),
    (known_tags, lambda x: x.code[-1].metadata.tags.append("nbval-chek-output")),
    (setup_and_parameters, lambda x: x.code[0].metadata.update(tags=[])),
    (setup_and_parameters, lambda x: x.code[-1].metadata.update(tags=["parameters"])),
    (setup_and_parameters, lambda x: x.notebook.cells.insert(1, code_cell("import sys"))),
    (no_stderr, lambda x: append_output(x, v4.new_output("stream", name="stderr", text="a warning"))),
    (errors_only_where_meant, append_error),
    (errors_only_where_meant, lambda x: x.code[-1].metadata.tags.append("raises-exception")),
    (no_machine_path, lambda x: append_output(x, v4.new_output("stream", text="in /" + "home/ada/course"))),
    (no_machine_path, lambda x: append_output(x, number_shown("'\x1b[31m/" + "tmp/x'", 5))),
    (no_machine_path, lambda x: append_text(x, " See C:\\Users\\ada.")),
    (no_machine_path, lambda x: x.code[-1].update(source="open('/" + "root/x')")),
    (size, lambda x: append_output(x, v4.new_output("display_data", {"image/png": "A" * MOST_BYTES}))),
    (short_code_cells, lambda x: x.code[-1].update(source="a = 1\n\n" * 21)),
    (short_code_cells, lambda x: x.code[3].update(source="a = 1\n\n" * 36)),
    (figures_have_alternative_text, lambda x: x.code[2].metadata.pop("alt")),
    (photographs_come_early, lambda x: x.notebook.cells.__setitem__(slice(4, 4), [code_cell("1")] * 3)),
    (photographs_come_early, lambda x: x.code[2].update(outputs=[])),
    (shared_helpers, lambda x: x.code[2].update(source="plotting.show(data.a, models.b, evaluation.c)")),
    (plain_cell, lambda x: x.code[3].metadata.update(tags=[])),
    (no_assertion_on_a_test_result, lambda x: x.code[-1].update(source="assert test_accuracy > 0.9")),
    (title_and_badge, lambda x: x.notebook.cells[0].update(source=x.notebook.cells[0].source.replace("# 01", "01"))),
    (title_and_badge, lambda x: setattr(x, "path", x.path.with_name("02_other.ipynb"))),
    (promise_and_summary, lambda x: x.markdown[1].update(source="Welcome.")),
    (promise_and_summary, lambda x: x.markdown[-1].update(source="Good bye.")),
    (links_resolve, lambda x: append_text(x, " [gone](../helpers/gone.py)")),
    (links_resolve, lambda x: append_text(x, ' <a href="02_gone.ipynb">next</a>')),
    (no_pictures_in_prose, lambda x: append_text(x, " ![a plot](https://example.org/plot.png)")),
    (no_pictures_in_prose, lambda x: x.markdown[1].update(attachments={"plot.png": {"image/png": "AAAA"}})),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_check_passes_a_good_lesson(good, check):
    assert check(good) == []


@pytest.mark.parametrize(("check", "spoil"), SPOILT, ids=lambda function: function.__name__.strip("<>"))
def test_check_finds_what_is_spoilt(good, check, spoil):
    spoil(good)
    assert check(good)


def test_every_check_is_shown_to_find_something():
    assert {check for check, _ in SPOILT} == set(CHECKS)


def test_letters_of_an_image_are_no_path(good):
    append_output(good, v4.new_output("display_data", {"image/png": "+/" + "tmp/AAAA"}))
    assert no_machine_path(good) == []


# What the lessons' test (`make lessons`) compares


def run_nbval(notebook, folder):
    """Test a notebook against its stored outputs as ``make lessons`` does; return its exit code and report."""
    path = folder / "lesson.ipynb"
    nbformat.write(notebook, path)
    chosen = {
        "COURSE_RUN": "sample",
        "PYTHONPATH": str(config.ROOT),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    left_out = {"COURSE_BACKBONE", "COURSE_DATA", "COURSE_WEIGHTS", "PYTEST_ADDOPTS"}
    options = ["--nbval-lax", "--nbval-cell-timeout=300", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, path.name],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name not in left_out} | chosen,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def integer_shown(cell):
    """The output of a checked cell that shows an integer, its key and the place of the integer; None without one."""
    for output in cell.outputs if "nbval-check-output" in tags(cell) else ():
        holder, key = (output, "text") if output.output_type == "stream" else (output.get("data", {}), "text/plain")
        if match := re.search(r"(?<![\w.])\d+(?![\w.])", holder.get(key, "")):
            return holder, key, match
    return None


def change_integer(cell):
    holder, key, match = integer_shown(cell)
    holder[key] = f"{match.string[: match.start()]}{int(match[0]) + 1}{match.string[match.end() :]}"


def assert_a_changed_number_fails(notebook, folder):
    """The notebook, whose last cell is a checked one, passes as it is and fails with one number changed."""
    code, report = run_nbval(notebook, folder)
    assert code == 0, report
    change_integer(notebook.cells[-1])
    code, report = run_nbval(notebook, folder)
    assert code == 1, report
    assert "mismatch" in report
    assert "1 failed" in report


def test_a_changed_number_fails_in_a_tiny_notebook(tmp_path):
    cell = code_cell("1 + 1", number_shown("2", 1), count=1, tagged=["nbval-check-output"])
    assert_a_changed_number_fails(v4.new_notebook(cells=[cell]), tmp_path)


def test_a_changed_number_fails_in_lesson_02(tmp_path):
    paths = [path for path in LESSONS if path.name.startswith("02_")]
    if not paths:
        pytest.skip("lesson 02 is not there")
    notebook = nbformat.read(paths[0], as_version=4)
    checked = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code" and integer_shown(cell)]
    assert checked, "no checked cell shows an integer"
    notebook.cells = notebook.cells[: checked[0] + 1]
    assert_a_changed_number_fails(notebook, tmp_path)
