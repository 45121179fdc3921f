"""tools/make_exercises.py, and the exercise notebooks: in step with their solutions, and kind to who opens them."""

import ast
import re

import make_exercises as tool
import nbformat
import pytest
import run_lessons

SOLUTIONS = sorted(tool.SOLUTIONS.glob("[0-9]*.ipynb"))
NAMES = [path.stem for path in SOLUTIONS]
CHECKED = re.compile(r"\b(?:checks|quiz)\.check_")
EXECUTED = "01"  # of these exercises every cell is run, of the others each is read


def cells_of(path, kind="code"):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def tags(cell):
    return cell.metadata.get("tags", [])


def exercise_of(path):
    return tool.EXERCISES / path.name


def without_magics(source):
    return re.sub(r"(?m)^%.*$", "", source)


def assigned(source):
    """Names that a piece of code assigns or defines."""
    stored = {n.id for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return stored | {n.name for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)}


def used(node):
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


# The tool


def test_names_become_none_and_what_stands_around_stays():
    source = "given = 1\n# solution: a, b\nx = 2\na = x\nb = given\n# end\nprint(a)"
    assert tool.blanked(source) == "given = 1\n# your code here\na = None\nb = None\nprint(a)"


def test_body_of_a_function_becomes_dots_and_the_function_stays():
    source = "def f(x):\n    # solution\n    if x:\n        # end\n        x = 1\n    return x\n    # end"
    assert tool.blanked(source) == "def f(x):\n    # your code here\n    ..."


def test_each_of_several_solutions_in_a_cell_is_blanked():
    source = "# solution: a\na = 1\n# end\nb = 2\n# solution: c\nc = 3\n# end"
    assert tool.blanked(source) == "# your code here\na = None\nb = 2\n# your code here\nc = None"


def test_exercise_has_no_solution_no_output_and_no_count():
    new = nbformat.v4
    solution = new.new_notebook(
        cells=[
            new.new_markdown_cell("[badge](https://x/notebooks/solutions/01_a.ipynb)"),
            new.new_markdown_cell("The reading.", metadata={"tags": ["solution"]}),
            new.new_code_cell("import os", metadata={"tags": ["setup"]}),
            new.new_code_cell(
                "# solution: a\na = 1\n# end",
                metadata={"tags": ["solution", "nbval-check-output"], "alt": "a line"},
                outputs=[new.new_output("stream", text="1")],
                execution_count=3,
            ),
        ]
    )
    before = nbformat.writes(solution)
    first, setup, blank = tool.exercise(solution).cells
    assert "/notebooks/exercises/01_a.ipynb" in first.source
    assert setup.metadata.tags == ["setup"]
    assert (blank.source, blank.outputs, blank.execution_count) == ("# your code here\na = None", [], None)
    assert blank.metadata == {"tags": [], "alt": "a line"}
    assert nbformat.writes(solution) == before


# The notebooks


def test_there_are_exercises_for_lessons_only_and_no_others_lie_about():
    assert {path.name for path in SOLUTIONS} == {path.name for path in tool.EXERCISES.glob("*.ipynb")}
    assert {path.name for path in SOLUTIONS} <= {path.name for path in run_lessons.lessons()}
    assert SOLUTIONS


@pytest.mark.parametrize("path", SOLUTIONS, ids=NAMES)
def test_exercises_are_what_the_tool_makes_of_the_solutions(path):
    assert exercise_of(path).read_text(encoding="utf-8") == tool.text_of(path), "run make exercises"


@pytest.mark.parametrize("path", SOLUTIONS, ids=NAMES)
def test_four_exercises_each_with_a_folded_hint_and_three_to_five_questions(path):
    text = "\n".join(cell.source for cell in cells_of(exercise_of(path), "markdown"))
    exercises = re.split(r"(?m)^## (?=Exercise|Questions)", text)[1:]
    assert len(exercises) >= 5
    assert all("<details><summary>Hint</summary>" in each for each in exercises if each.startswith("Exercise"))
    questions = [cell for cell in cells_of(path) if "quiz.check_quiz" in cell.source]
    assert 3 <= len(questions) <= 5


@pytest.mark.parametrize("path", SOLUTIONS, ids=NAMES)
def test_solutions_are_marked_and_assign_the_names_that_are_asked_for(path):
    solved = [cell for cell in cells_of(path) if "# solution" in cell.source]
    assert solved
    for cell in solved:
        assert "solution" in tags(cell)
        assert len(re.findall("# solution", cell.source)) == len(tool.MARKED.findall(cell.source))
        for match in tool.MARKED.finditer(cell.source):
            if match[2]:
                assert set(match[2].split(", ")) <= assigned(match[0])


@pytest.mark.parametrize("path", SOLUTIONS, ids=NAMES)
def test_every_check_of_a_solution_is_compared_and_says_right(path):
    checked = [cell for cell in cells_of(path) if CHECKED.search(cell.source)]
    assert len(checked) >= 7
    for cell in checked:
        assert "nbval-check-output" in tags(cell)
        assert cell.outputs[-1].data["text/plain"].startswith("Right. "), cell.source


@pytest.mark.parametrize("path", SOLUTIONS, ids=NAMES)
def test_cells_that_are_given_bear_that_nothing_has_been_entered(path):
    """What uses an answer is a check, or stands in an `if`."""
    blank = {name for cell in cells_of(path) for match in tool.MARKED.finditer(cell.source) if match[2]
             for name in match[2].split(", ")}  # fmt: skip
    for cell in cells_of(exercise_of(path)):
        for statement in ast.parse(without_magics(cell.source)).body:
            if not isinstance(statement, ast.If) and not CHECKED.search(ast.unparse(statement)):
                assert not used(statement) & blank, cell.source


@pytest.fixture(scope="module")
def opened_fresh(tmp_path_factory):
    """The exercises of one lesson, run from top to bottom as they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_lessons, "EXECUTED", tmp_path_factory.mktemp("build") / "lessons")
        patch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
        (path,) = [path for path in tool.EXERCISES.glob("*.ipynb") if path.name.startswith(EXECUTED)]
        return run_lessons.run_lesson(path)


def test_exercises_opened_fresh_run_without_an_error(opened_fresh):
    assert opened_fresh.error is None


def test_each_check_of_exercises_opened_fresh_says_kindly_that_nothing_is_entered(opened_fresh):
    checked = [cell for cell in run_lessons.code_cells(opened_fresh.notebook) if CHECKED.search(cell.source)]
    assert len(checked) >= 7
    assert {cell.outputs[-1].data["text/plain"].partition(".")[0] for cell in checked} == {"Nothing entered yet"}
