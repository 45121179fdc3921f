"""Write the README's two tables, and each lesson's table of recorded results, anew from the files in ``data/results/``.

python tools/measured.py
"""

import json
import re

import nbformat
from run_lessons import lessons, write_atomically

from helpers import config, evaluation

README = config.ROOT / "README.md"
SHOWN = {  # lesson -> what it is about, and of each figure in its file the words that stand for it in the README
    "01": ("ten foods, 40 per class",
           {"fine_tuned_at_40": "fine-tuned", "frozen_at_40": "frozen", "scratch_at_40": "scratch"}),
    "02": ("ten foods", {"test_accuracy": "frozen", "linear_probe": "linear probe", "CNN_from_scratch": "scratch"}),
    "03": ("cats vs dogs", {"fine_tuned": "fine-tuned", "linear_probe": "linear probe", "scratch_mean": "scratch"}),
    "04": ("32 × 32 pixels", {"fine_tuned": "fine-tuned", "linear_probe": "linear probe", "scratch_mean": "scratch"}),
    "05": ("fruits and beans", {"fruits_test": "fruits", "fruits_in_shops": "the same model in shops",
                                "beans_fine_tuned": "beans, fine-tuned", "beans_linear_probe": "beans, linear probe"}),
    "06": ("six vegetables, new places",
           {"kept": "model kept", "linear_probe": "linear probe", "random_split": "linear probe, split at random"}),
}  # fmt: skip
_RECORDED = re.compile(r'evaluation\.recorded\("(\d\d)"\)')
_INTERVAL = re.compile(r"\(95 % interval ([\d.]+)% to ([\d.]+)%, (\d+) of (\d+)\)")


def lessons_table(results: dict[str, dict]) -> str:
    """Accuracies on test photographs, one row per lesson, the sample run beside the full one.

    Args:
        results: Name of a file in ``data/results`` to what it holds.
    """
    lines = ["| lesson | sample run | full run |", "|---|---|---|"]
    for lesson, (title, words) in SHOWN.items():
        cells = []
        for run in config.RUNS:
            recorded = [(name, r) for name, r in results.items() if (r.get("lesson"), r.get("run")) == (lesson, run)]
            cells.append("<br>".join(_in_words(*pair, words) for pair in recorded) or "not run yet")
        lines.append(f"| {lesson} {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _in_words(name: str, result: dict, words: dict[str, str]) -> str:
    figures = [f"{words[key]} {_INTERVAL.sub(_short, str(result['figures'][key]))}" for key in words]
    return f"[{result['backbone']}](data/results/{name}), {result['seconds']} s: {'; '.join(figures)}"


def _short(interval: re.Match) -> str:
    low, high, _, total = interval.groups()
    return f"({low} to {high}, n = {total})"


def benchmarks_table(benchmarks: dict[str, list[dict]]) -> str:
    """Our way against the usual one, a row for each benchmark that was run twice: the run with the lowest median ratio.

    Args:
        benchmarks: Name of a benchmark to its results, one per run.
    """
    lines = ["| | usual way | this course | ratio, median | least to most (runs) |", "|---|---|---|---|---|"]
    for name, runs in benchmarks.items():
        if len(runs) == 1:  # one run is no claim
            continue
        lowest = min(runs, key=lambda run: run["ratio"]["median"])
        usual, ours = (f"{lowest[way]['median']:.3g} {lowest['unit']}" for way in ("usual", "ours"))
        least, most = min(run["ratio"]["min"] for run in runs), max(run["ratio"]["max"] for run in runs)
        lines.append(
            f"| {name} | {usual} | {ours} | {lowest['ratio']['median']:.1f} | {least:.1f} to {most:.1f} ({len(runs)}) |"
        )
    return "\n".join(lines)


def renewed(readme: str) -> str:
    """The README's text with both tables as the files have them."""
    results = {
        path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(config.RESULTS.glob("*.json"))
    }
    tables = {"lessons": lessons_table(results), "benchmarks": benchmarks_table(results["benchmarks.json"])}
    for name, table in tables.items():
        start, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        before, _, rest = readme.partition(start)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(
                f"README.md has no place for the table of {name}: put back the lines {start!r} and {end!r}."
            )
        readme = before + start + table + end + after
    return readme


def with_recorded(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A lesson whose cell ``evaluation.recorded("NN")`` shows what the files hold now, as if it had just been run."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and (found := _RECORDED.fullmatch(cell.source.strip())):
            table = evaluation.recorded(found[1])
            shown = {"text/html": table._repr_html_(), "text/plain": repr(table)}
            cell.outputs = [nbformat.v4.new_output("execute_result", shown, execution_count=cell.execution_count)]
    return notebook


if __name__ == "__main__":
    write_atomically(README, renewed(README.read_text(encoding="utf-8")))
    for path in lessons():
        write_atomically(path, nbformat.writes(with_recorded(nbformat.read(path, as_version=4))) + "\n")
