"""tools/run_lessons.py on tiny made-up lessons."""

import base64
import io
import json
import os
import sys

import IPython
import nbformat
import numpy as np
import pytest
import run_lessons as tool
from nbformat import v4
from PIL import Image

from helpers import config, lessons
from helpers.evaluation import RESULTS_MIME_TYPE

SHOW_RESULTS = "from IPython.display import display\n" + (
    f"display({{{RESULTS_MIME_TYPE!r}: dict(test_accuracy=0.8125, images=40)}}, raw=True)"
)
A_MACHINES_PATH = "/" + "home/ada/course"


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(tool, "EXECUTED", tmp_path / "build" / "lessons")
    monkeypatch.setattr(tool, "RESULTS", tmp_path / "results")
    monkeypatch.setenv("COURSE_RUN", "sample")
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    monkeypatch.delenv("COURSE_BACKBONE", raising=False)
    monkeypatch.delenv("COURSE_DATA", raising=False)
    tool.NOTEBOOKS.mkdir()
    return tmp_path


def notebook_of(*sources):
    cells = [v4.new_code_cell(source) for source in sources]
    return v4.new_notebook(cells=[v4.new_markdown_cell("# Title"), *cells])


def write_lesson(*sources, name="01_made_up.ipynb"):
    path = tool.NOTEBOOKS / name
    nbformat.write(notebook_of(*sources), path)
    return path


def executed_notebook(*outputs):
    notebook = notebook_of("x")
    notebook.cells[1].outputs = list(outputs)
    return notebook


def outcome_of(path, notebook, figures=None):
    return tool.Outcome(path=path, notebook=notebook, seconds=1.6, error=None, figures=figures or {})


# Running


def test_lessons_that_pass_and_fail_are_told_apart_in_table_and_exit_code(folders, capsys):
    failing = write_lesson(
        "1 + 1", "", "raise ValueError('no such\\nclass')", "print('after')", name="01_failing.ipynb"
    )
    write_lesson("import os; print(os.environ['COURSE_RUN'], os.getcwd())", SHOW_RESULTS, name="02_passing.ipynb")
    notebook = nbformat.read(failing, as_version=4)
    notebook.cells[4].outputs = [stream("of an earlier run")]
    nbformat.write(notebook, failing)
    before = failing.read_bytes()
    assert tool.main([]) == 1
    shown = capsys.readouterr()
    heading, failed, passed = shown.out.splitlines()
    assert heading.split() == ["lesson", "seconds", "result", "main", "figures"]
    assert "01_failing" in failed
    assert failed.endswith("failed in cell 2: ValueError: no such class")
    assert "test accuracy 0.8125; images 40" in passed
    assert passed.index("passed") == heading.index("result")
    assert passed.index("test accuracy") == heading.index("main figures")
    assert "\r" not in shown.err
    assert [line.split(":")[0] for line in shown.err.splitlines()] == ["01 failing"] * 2 + ["02 passing"] * 2
    executed = nbformat.read(tool.EXECUTED / "01_failing.ipynb", as_version=4)
    assert executed.cells[1].outputs[0].data["text/plain"] == "2"
    assert executed.cells[3].outputs[0].ename == "ValueError"
    assert executed.cells[4].outputs == []
    passing = nbformat.read(tool.EXECUTED / "02_passing.ipynb", as_version=4)
    assert passing.cells[1].outputs[0].text.split() == ["sample", str(tool.NOTEBOOKS)]
    assert failing.read_bytes() == before


@pytest.mark.skipif(IPython.version_info < (8,), reason="it names a cell by a temporary file, and is refused for that")
def test_one_lesson_with_an_expected_error_is_stored_and_recorded(folders, capsys):
    path = write_lesson("import json\njson.loads('nothing')", "%matplotlib inline\n2 + 2", SHOW_RESULTS)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].metadata.tags = ["raises-exception"]
    nbformat.write(notebook, path)
    write_lesson("raise SystemError", name="02_other.ipynb")
    assert tool.main(["1", "--store", "--record"]) == 0
    assert "02_other" not in capsys.readouterr().out
    stored = nbformat.read(path, as_version=4)
    assert [cell.execution_count for cell in stored.cells[1:]] == [1, 2, 3]
    assert [cell.id for cell in stored.cells] == [cell.id for cell in notebook.cells]
    assert stored.cells[1].metadata == {"tags": ["raises-exception"]}
    assert stored.cells[1].outputs[0].evalue.startswith("Expecting value")
    frames = "".join(stored.cells[1].outputs[0].traceback)
    assert "Cell" in frames
    assert "decoder.py" not in frames
    assert set(stored.metadata) == {"kernelspec", "language_info"}
    assert [p.name for p in (folders / "results").iterdir()] == ["01_sample_efficientnet-lite0.json"]
    assert sorted(p.name for p in tool.NOTEBOOKS.iterdir()) == ["01_made_up.ipynb", "02_other.ipynb"]


def test_solutions_are_run_in_their_own_folder(folders):
    write_lesson("raise SystemError")
    (tool.NOTEBOOKS / "solutions").mkdir()
    path = write_lesson("import os; print(os.getcwd())", name="solutions/01_made_up.ipynb")
    assert tool.main(["--solutions"]) == 0
    executed = nbformat.read(folders / "build" / "solutions" / "01_made_up.ipynb", as_version=4)
    assert executed.cells[1].outputs[0].text.strip() == str(path.parent)
    assert not tool.EXECUTED.exists()


def test_a_lesson_whose_kernel_dies_fails_and_the_next_one_runs(folders, capsys):
    write_lesson("import os; os._exit(1)", name="01_dies.ipynb")
    write_lesson("1", name="02_lives.ipynb")
    assert tool.main([]) == 1
    assert (tool.EXECUTED / "01_dies.log").is_file()
    _, died, lived = capsys.readouterr().out.splitlines()
    assert "failed in cell 1: DeadKernelError" in died
    assert "passed" in lived


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_ctrl_c_stops_all_lessons(folders):
    write_lesson(
        "import os, signal\nos.kill(os.getppid(), signal.SIGINT)\nimport time\ntime.sleep(30)", name="01_a.ipynb"
    )
    write_lesson("1", name="02_b.ipynb")
    with pytest.raises(KeyboardInterrupt):
        tool.main([])
    assert sorted(path.name for path in tool.EXECUTED.glob("*.ipynb")) == ["01_a.ipynb"]


# Told before anything runs


@pytest.fixture
def nothing_runs(folders, monkeypatch):
    monkeypatch.setattr(tool, "run_lesson", lambda path: pytest.fail("a lesson ran"))
    write_lesson("1")
    write_lesson("1", name="02_b.ipynb")


@pytest.mark.usefixtures("nothing_runs")
def test_unknown_lesson_lists_the_valid_ones():
    with pytest.raises(SystemExit, match=r"^There is no lesson 7\. Lessons: 01, 02\.$"):
        tool.main(["7"])


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("variable", ["COURSE_RUN", "COURSE_BACKBONE", "COURSE_DATA", "COURSE_WEIGHTS"])
def test_a_bad_environment_is_told_in_one_sentence(monkeypatch, variable):
    monkeypatch.setenv(variable, "nonsense")
    with pytest.raises(SystemExit, match="nonsense") as stopped:
        tool.main([])
    assert "\n" not in stopped.value.code


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(("variable", "value"), [("COURSE_RUN", "full"), ("COURSE_BACKBONE", "VGG16")])
def test_only_the_sample_run_is_stored(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit, match="sample run"):
        tool.main(["--store"])


# Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "40")
    progress = tool.Progress("02 food10", cells=30)
    progress.cell = 12
    progress.show()
    progress.end("failed in cell 12: ValueError: a message longer than the terminal is wide")
    written = sys.stderr.getvalue()
    assert "\r02 food10: cell 12 of 30, 0 s" in written
    assert written.count("\n") == 1
    assert max(len(part) for part in written.rstrip("\n").split("\r")) < 40


# Storing


def stream(text, name="stdout"):
    return v4.new_output("stream", name=name, text=text)


def test_cleaned_reduces_metadata_and_keeps_outputs():
    one_pixel = io.BytesIO()
    Image.new("RGB", (1, 1)).save(one_pixel, "png", optimize=True)
    picture = v4.new_output("display_data", {"image/png": base64.b64encode(one_pixel.getvalue()).decode()})
    notebook = executed_notebook(v4.new_output("execute_result", {"text/plain": "3"}, execution_count=9), picture)
    notebook.metadata.update(language_info={"name": "python", "version": "3.11.7"}, widgets={})
    notebook.cells[1].metadata.update(tags=["setup"], execution={"iopub.execute_input": "now"})
    clean = tool.cleaned(notebook)
    assert clean.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert clean.cells[1].metadata == {"tags": ["setup"]}
    assert clean.cells[1].outputs[0].execution_count == clean.cells[1].execution_count == 1
    assert clean.cells[1].outputs[1] == picture
    assert notebook.cells[1].outputs[0].execution_count == 9


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (stream("a warning", name="stderr"), "cell 1 wrote to stderr: a warning"),
        (stream(f"reads\nfrom {A_MACHINES_PATH}"), "cell 1 shows a path"),
        (v4.new_output("display_data", {"text/plain": f"'{A_MACHINES_PATH}'"}), "cell 1 shows a path"),
        (v4.new_output("display_data", {"text/plain": f"'{config.ROOT / 'data'}'"}), "cell 1 shows a path"),
        (v4.new_output("error", ename="OSError", evalue=f"no {A_MACHINES_PATH}"), "cell 1 shows a path"),
        (stream("\x1b[31m" + A_MACHINES_PATH), "cell 1 shows a path"),
    ],
)
def test_cleaned_refuses(output, reason):
    with pytest.raises(tool.RefusedError, match=reason):
        tool.cleaned(executed_notebook(output))


@pytest.mark.parametrize("text", ["https://example.org/home/page", "../tmp/x", "data/work/x", "rate 1/2"])
def test_paths_of_no_machine_are_not_refused(text):
    tool.cleaned(executed_notebook(stream(text)))


def test_a_notebook_too_large_or_edited_meanwhile_is_not_stored(folders):
    path = write_lesson("x")
    source = path.read_bytes()
    large = executed_notebook(v4.new_output("display_data", {"text/html": "A" * tool.MOST_BYTES}))
    with pytest.raises(tool.RefusedError, match="KB, more than 600"):
        tool.store(outcome_of(path, large), source)
    with pytest.raises(tool.RefusedError, match="edited while it ran"):
        tool.store(outcome_of(path, executed_notebook()), source + b" ")
    assert path.read_bytes() == source
    assert os.listdir(tool.NOTEBOOKS) == [path.name]


def test_a_picture_is_stored_in_the_smallest_form_and_looks_the_same():
    noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    photograph = np.asarray(Image.fromarray(noise).resize((300, 300), Image.BICUBIC))
    plot = np.full((300, 300, 3), 255, np.uint8)
    plot[100:102] = (0, 114, 178)
    for pixels, expected in ((photograph, "image/jpeg"), (plot, "image/png")):
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, "png")
        encoded = base64.b64encode(png.getvalue()).decode()
        mime_type, stored = tool.smaller_picture(encoded)
        assert mime_type == expected
        assert len(stored) <= len(encoded)
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(stored))).convert("RGB"), dtype=float)
        assert np.abs(shown - pixels).mean() < 6  # of 255


def test_a_picture_whose_green_and_blue_need_many_colours_is_not_reduced_to_256():
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[..., 1], pixels[..., 2] = np.mgrid[:256, :256]
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "png")
    _, stored = tool.smaller_picture(base64.b64encode(png.getvalue()).decode())
    assert Image.open(io.BytesIO(base64.b64decode(stored))).mode == "RGB"


def test_alternative_text_of_a_cell_goes_with_its_picture():
    png = io.BytesIO()
    Image.new("RGB", (4, 4)).save(png, "png")
    notebook = executed_notebook(
        v4.new_output("display_data", {"image/png": base64.b64encode(png.getvalue()).decode()})
    )
    notebook.cells[1].metadata["alt"] = "a black square"
    (output,) = tool.cleaned(notebook).cells[1].outputs
    assert output.metadata == {"image/png": {"alt": "a black square"}}


def test_results_of_a_lesson_whose_outputs_are_refused_are_not_recorded(folders, monkeypatch):
    path = write_lesson("x")
    outcome = outcome_of(path, executed_notebook(stream("a warning", name="stderr")), {"test_accuracy": 0.8})
    monkeypatch.setattr(tool, "run_lesson", lambda _: outcome)
    assert tool.main(["--store", "--record"]) == 1
    assert list(tool.RESULTS.glob("*.json")) == []


def test_solutions_are_not_recorded(capsys):
    with pytest.raises(SystemExit):
        tool.main(["--solutions", "--record"])
    assert "--solutions have no results" in capsys.readouterr().err


def test_a_refusal_is_told_and_makes_the_exit_code_1(folders, monkeypatch, capsys):
    path = write_lesson("x")
    outcome = outcome_of(path, executed_notebook(stream("a warning", name="stderr")))
    monkeypatch.setattr(tool, "run_lesson", lambda _: outcome)
    assert tool.main(["--store"]) == 1
    assert capsys.readouterr().out.startswith(f"{path.name} is not kept: cell 1 wrote to stderr: a warning.\n")
    outcome.error = "in cell 1: ValueError: no"
    assert tool.main(["--store"]) == 1
    assert nbformat.read(path, as_version=4).cells[1].outputs == []


# Recording


def test_record_holds_the_figures_and_how_they_were_measured(folders, monkeypatch):
    monkeypatch.setenv("COURSE_BACKBONE", "MobileNetV2")
    path = tool.record(outcome_of(tool.NOTEBOOKS / "02_b.ipynb", executed_notebook(), {"test_accuracy": 0.8}))
    assert path == folders / "results" / "02_sample_MobileNetV2.json"
    text = path.read_text(encoding="utf-8")
    measured = json.loads(text)
    assert text == json.dumps(measured, indent=2, sort_keys=True) + "\n"
    expected = {"lesson": "02", "run": "sample", "dataset": "groceries", "backbone": "MobileNetV2", "seconds": 2}
    assert measured | expected == measured
    assert measured["figures"] == {"test_accuracy": 0.8}
    assert set(measured["packages"]) == {"tensorflow", "keras", "numpy"}
    assert set(measured) == {*expected, "image_size", "figures", "packages", "python", "cpus"}


def test_record_of_a_lesson_with_two_data_sets_names_both(folders):
    path = tool.record(outcome_of(tool.NOTEBOOKS / "05_c.ipynb", executed_notebook(), {"test_accuracy": 0.8}))
    assert path == folders / "results" / "05_sample_efficientnet-lite0.json"
    measured = json.loads(path.read_text(encoding="utf-8"))
    assert measured["dataset"] == "fruits360, beans"
    assert measured["image_size"] == [
        lessons.settings("05-fruits", "sample").image_size,
        lessons.settings("05-beans", "sample").image_size,
    ]


def test_a_lesson_without_figures_is_not_recorded(folders):
    with pytest.raises(tool.RefusedError, match="no main figures"):
        tool.record(outcome_of(tool.NOTEBOOKS / "02_b.ipynb", executed_notebook()))
    assert not (folders / "results").exists()
