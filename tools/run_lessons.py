"""Run every lesson, or one, in a fresh kernel, and end with a table of times, results and main figures.

python tools/run_lessons.py [LESSON] [--solutions] [--store] [--record]

``COURSE_RUN``, ``COURSE_DATA``, ``COURSE_WEIGHTS`` and ``COURSE_BACKBONE`` choose the run, as in the lessons.
The executed copies, those of failed lessons too, and what the kernels logged are written to ``build/lessons/``;
with ``--solutions``, which runs the solutions of exercises instead, to ``build/solutions/``.
"""

import argparse
import asyncio
import base64
import contextlib
import dataclasses
import io
import json
import os
import re
import shutil
import signal
import sys
import textwrap
import time
from pathlib import Path
from typing import IO

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image, ImageChops, ImageStat

from helpers import config
from helpers import lessons as numbers
from helpers.evaluation import RESULTS_MIME_TYPE

NOTEBOOKS = config.ROOT / "notebooks"
EXECUTED = config.BUILD / "lessons"
RESULTS = config.RESULTS
MOST_BYTES = 600 * 1000  # of a stored notebook
_MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:root|home|tmp|work|Users|opt|var|mnt|content)/|[A-Za-z]:\\+Users")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class RefusedError(Exception):
    """A lesson's outputs are not to be stored or recorded; the message says why."""


@dataclasses.dataclass
class Outcome:
    """What became of one lesson: its executed notebook, seconds, error (None if it passed) and main figures."""

    path: Path
    notebook: nbformat.NotebookNode
    seconds: float
    error: str | None
    figures: dict

    @property
    def result(self) -> str:
        """``passed``, or where and why it failed."""
        return "passed" if self.error is None else f"failed {self.error}"


class Progress:
    """One updating line on a terminal; without one, a line where a lesson starts and where it ends."""

    def __init__(self, title: str, cells: int):
        self.title, self.cells, self.cell, self.start = title, cells, 0, time.monotonic()
        self.on_terminal = sys.stderr.isatty()
        if not self.on_terminal:
            print(f"{title}: started, {cells} cells", file=sys.stderr, flush=True)

    @property
    def seconds(self) -> float:
        """Time since the lesson's start."""
        return time.monotonic() - self.start

    def show(self) -> None:
        """Bring the terminal's line up to date."""
        if self.on_terminal:
            self._write(f"{self.title}: cell {self.cell} of {self.cells}, {self.seconds:.0f} s")

    def end(self, result: str) -> None:
        """Write the last line."""
        line = f"{self.title}: {result}, {self.seconds:.0f} s"
        if self.on_terminal:
            self._write(line)
        print("" if self.on_terminal else line, file=sys.stderr, flush=True)

    def _write(self, line: str) -> None:
        room = shutil.get_terminal_size().columns - 1
        print("\r" + line[:room].ljust(room), end="", file=sys.stderr, flush=True)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The code cells that hold code, in order: cell number n is the one that shows ``[n]``."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def lessons(number: str | None = None, folder: Path | None = None) -> list[Path]:
    """Paths of all lessons in a folder, or of the one with this number; exits with a sentence if there is none."""
    folder = folder or NOTEBOOKS
    paths = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    chosen = [path for path in paths if number is None or path.name[:2] == number.zfill(2)]
    if not chosen:
        valid = ", ".join(path.name[:2] for path in paths) or f"none in {folder}"
        sys.exit(f"There is no lesson {number or 'to run'}. Lessons: {valid}.")
    return chosen


def run_lesson(path: Path) -> Outcome:
    """Execute one lesson in a fresh kernel; write the executed copy and the kernel's log to ``build/``."""
    notebook = nbformat.read(path, as_version=4)
    for cell in code_cells(notebook):  # no output of an earlier run is taken for one of this run
        cell.outputs, cell.execution_count = [], None
    progress = Progress(path.stem.replace("_", " "), len(code_cells(notebook)))
    error = None
    executed = EXECUTED if path.parent == NOTEBOOKS else EXECUTED.with_name(path.parent.name)
    executed.mkdir(parents=True, exist_ok=True)
    try:
        with (executed / f"{path.stem}.log").open("w") as log:
            asyncio.run(_execute(notebook, path.parent, progress, log))
    except Exception as raised:  # whatever it is, the other lessons run
        name, text = (raised.ename, raised.evalue) if isinstance(raised, CellExecutionError) else _described(raised)
        error = textwrap.shorten(f"in cell {progress.cell}: {name}: {text}", width=140, placeholder=" …")
    finally:
        nbformat.write(notebook, executed / path.name)
    outcome = Outcome(path, notebook, progress.seconds, error, main_figures(notebook))
    progress.end(outcome.result)
    return outcome


async def _execute(notebook: nbformat.NotebookNode, folder: Path, progress: Progress, log: IO) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()

    def stop():  # Ctrl-C ends all lessons, not this kernel alone
        stopped.set()
        running.cancel()

    def on_cell_execute(**_):
        progress.cell += 1
        with contextlib.suppress(NotImplementedError):  # Windows, where Ctrl-C raises KeyboardInterrupt by itself
            loop.add_signal_handler(signal.SIGINT, stop)

    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, kernel_name="python3", resources=resources, record_timing=False)
    client.on_cell_execute = on_cell_execute
    running = asyncio.ensure_future(client.async_execute(stdout=log, stderr=log))
    while not running.done():
        await asyncio.wait([running], timeout=0.5)
        progress.show()
    (result,) = await asyncio.gather(running, return_exceptions=True)
    if stopped.is_set():
        raise KeyboardInterrupt
    if isinstance(result, BaseException):
        raise result


def _described(error: Exception) -> tuple[str, str]:
    return type(error).__name__, str(error)


def main_figures(notebook: nbformat.NotebookNode) -> dict:
    """Name to value of the last output that ``helpers.evaluation.show_results`` displayed."""
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    shown = [output.data[RESULTS_MIME_TYPE] for output in outputs if RESULTS_MIME_TYPE in output.get("data", {})]
    return dict(shown[-1]) if shown else {}


def table(outcomes: list[Outcome]) -> str:
    """Lesson, seconds, result and main figures, aligned."""
    rows = [("lesson", "seconds", "result", "main figures")]
    rows += [(o.path.stem, f"{o.seconds:.0f}", o.result, _in_words(o.figures)) for o in outcomes]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join(
        f"{lesson:{widths[0]}}  {seconds:>{widths[1]}}  {result:{widths[2]}}  {figures}".rstrip()
        for lesson, seconds, result, figures in rows
    )


def _in_words(figures: dict) -> str:
    words = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in figures.items()}
    return "; ".join(f"{name.replace('_', ' ')} {' '.join(value.split())}" for name, value in words.items())


def store(outcome: Outcome, source: bytes) -> None:
    """Replace a lesson by its executed copy, cleaned of what differs between machines.

    Args:
        outcome: Of a lesson that passed.
        source: What the lesson's file held when the run started.

    Raises:
        RefusedError: if an output may not be stored, or the lesson was edited while it ran.
    """
    text = nbformat.writes(cleaned(outcome.notebook)) + "\n"
    if (size := len(text.encode())) > MOST_BYTES:
        raise RefusedError(f"the notebook has {size / 1000:.0f} KB, more than {MOST_BYTES // 1000}")
    if outcome.path.read_bytes() != source:
        raise RefusedError("the notebook was edited while it ran")
    write_atomically(outcome.path, text)


def cleaned(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a copy whose metadata are the same on every machine; outputs and cell ids stay.

    A traceback loses its frames in files, which name folders of this machine, and keeps those in cells.

    Raises:
        RefusedError: if a cell wrote to stderr or shows a path of this machine.
    """
    notebook = nbformat.from_dict(json.loads(json.dumps(notebook)))
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        for timing in ("execution", "ExecuteTime"):
            cell.metadata.pop(timing, None)
    for number, cell in enumerate(code_cells(notebook), start=1):
        cell.execution_count = number
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number
            if output.output_type == "error":
                output.traceback = [
                    frame for frame in output.traceback if not _COLOURS.sub("", frame).startswith("File ")
                ]
            if output.get("name") == "stderr":
                raise RefusedError(f"cell {number} wrote to stderr: {_first_line(output.text)}")
            if shown := machine_path(*texts(output)):
                raise RefusedError(f"cell {number} shows a path of this machine: {_first_line(shown)}")
            if "image/png" in output.get("data", {}):
                mime_type, picture = smaller_picture(output.data.pop("image/png"))
                output.data[mime_type] = picture
                if "alt" in cell.metadata:  # nbconvert writes it into the page
                    output.metadata = {mime_type: {"alt": cell.metadata["alt"]}}
    return notebook


def smaller_picture(encoded: str) -> tuple[str, str]:
    """MIME type and base64 text of a PNG in its smallest form: as it is, with 256 colours, or as JPEG.

    The 256 colours are taken only where they change nothing that can be seen, as in plots; photographs become JPEGs.
    """
    image = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    palette = image.quantize(256, dither=Image.Dither.NONE)
    jpeg, few_colours = io.BytesIO(), io.BytesIO()
    image.save(jpeg, "jpeg", quality=82, optimize=True)
    candidates = [("image/png", encoded), ("image/jpeg", base64.b64encode(jpeg.getvalue()).decode() + "\n")]
    if max(ImageStat.Stat(ImageChops.difference(image, palette.convert("RGB"))).mean) < 1.0:
        palette.save(few_colours, "png", optimize=True)
        candidates.append(("image/png", base64.b64encode(few_colours.getvalue()).decode() + "\n"))
    return min(candidates, key=lambda candidate: len(candidate[1]))


def texts(output: nbformat.NotebookNode) -> list[str]:
    """All that an output shows, without its images."""
    bundle = [str(value) for name, value in output.get("data", {}).items() if not name.startswith("image/")]
    return [output.get("text", ""), output.get("evalue", ""), *output.get("traceback", []), *bundle]


def machine_path(*parts: str) -> str | None:
    """The first line that holds an absolute path of this machine, or None."""
    own = (str(config.ROOT), sys.prefix, sys.base_prefix + "/lib")
    lines = _COLOURS.sub("", "\n".join(parts)).splitlines()
    return next((line for line in lines if _MACHINE_PATH.search(line) or any(path in line for path in own)), None)


def _first_line(text: str) -> str:
    return textwrap.shorten(text.strip().partition("\n")[0], width=100, placeholder=" …")


def record(outcome: Outcome) -> Path:
    """Write a lesson's main figures, and with what they were measured, to ``data/results/``.

    Raises:
        RefusedError: if the lesson shows no main figures.
    """
    if not outcome.figures:
        raise RefusedError("the lesson shows no main figures")
    number = outcome.path.name[:2]
    parts = numbers.parts(number)
    measured = {
        "lesson": number,
        "run": parts[0].run,
        "dataset": ", ".join(part.dataset for part in parts),
        "image_size": parts[0].image_size if len(parts) == 1 else [part.image_size for part in parts],
        "backbone": parts[0].backbone,
        "figures": outcome.figures,
        "seconds": round(outcome.seconds),
        **config.measured_with(),
    }
    path = RESULTS / f"{number}_{parts[0].run}_{parts[0].backbone}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(measured, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    return path


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    os.replace(temporary, path)


def keep(outcome: Outcome, source: bytes, options: argparse.Namespace) -> bool:
    """Store and record one lesson if it passed and the options ask for it; return whether nothing was refused."""
    if outcome.error is not None:
        return True
    try:
        if options.store:
            store(outcome, source)
        if options.record:  # last: where storing is refused, an earlier record stays
            record(outcome)
    except RefusedError as refused:
        print(f"{outcome.path.name} is not kept: {refused}.")
        return False
    return True


def main(arguments: list[str] | None = None) -> int:
    """Run the lessons; return 1 if one failed or was refused, else 0."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("lesson", nargs="?", help="number of the only lesson to run")
    parser.add_argument("--solutions", action="store_true", help="run the solutions of the exercises instead")
    parser.add_argument("--store", action="store_true", help="for authors: keep the outputs in notebooks/")
    parser.add_argument("--record", action="store_true", help="for authors: keep the main figures in data/results/")
    options = parser.parse_args(arguments)
    if options.solutions and options.record:
        parser.error("--solutions have no results of their own to --record")
    paths = lessons(options.lesson, NOTEBOOKS / "solutions" if options.solutions else None)
    try:
        config.data_folder()
        config.weights_folder()
        run = numbers.settings(numbers.LESSONS[0]).run
    except ValueError as error:
        sys.exit(str(error))
    if options.store and (run != "sample" or os.environ.get("COURSE_BACKBONE")):
        sys.exit("Stored outputs are those of the sample run: set COURSE_RUN=sample and leave COURSE_BACKBONE unset.")
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # python3 is the kernel of this interpreter
    sources = {path: path.read_bytes() for path in paths}
    outcomes, kept = [], []
    for path in paths:
        outcomes.append(run_lesson(path))
        kept.append(keep(outcomes[-1], sources[path], options))
    print(table(outcomes))
    return 0 if all(kept) and all(outcome.error is None for outcome in outcomes) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nStopped.")
