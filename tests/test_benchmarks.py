import json
from pathlib import Path

import numpy as np
import pytest
import run

from helpers import config, data


def test_ratio_is_that_of_each_pair_and_above_1_where_ours_needs_less():
    result = run.compared([10.0, 20.0, 60.0], [5.0, 5.0, 6.0], "a test")
    assert result["ratio"] == {"median": 4.0, "min": 2.0, "max": 10.0, "all": [2.0, 4.0, 10.0]}
    assert result["usual"]["median"] == 20.0
    assert result["ours"]["all"] == [5.0, 5.0, 6.0]


def test_ways_run_in_turn_from_the_same_random_numbers(monkeypatch):
    clock, order = iter([0.0, 3.0, 3.0, 4.0, 4.0, 9.0, 9.0, 11.0]), []
    monkeypatch.setattr(run.time, "perf_counter", lambda: next(clock))
    seconds, returned = run.in_turn(
        2,
        usual=lambda: order.append("usual") or np.random.rand(),
        ours=lambda: order.append("ours") or np.random.rand(),
    )
    assert order == ["usual", "ours"] * 2
    assert seconds == {"usual": [3.0, 5.0], "ours": [1.0, 2.0]}
    assert returned["usual"] == returned["ours"]


def test_results_of_real_images_alone_are_written_down_beside_the_earlier_ones(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(run, "RESULT", tmp_path / "benchmarks.json")
    asked = []
    pair = {"a, 5": run.compared([4.0], [2.0], "what")}
    monkeypatch.setattr(run, "BENCHMARKS", {"a": lambda repeats: asked.append(repeats) or pair})
    assert run.main(["a", "--repeats", "7"]) == 0
    assert not run.RESULT.exists()
    monkeypatch.setattr(config, "data_folder", lambda: tmp_path)
    run.RESULT.write_text('{"b": [1], "a, 5": [{"ratio": 3}]}')
    run.main([])
    written = json.loads(run.RESULT.read_text())
    assert asked == [7, 5]
    assert written["b"] == [1]
    earlier, latest = written["a, 5"]
    assert earlier == {"ratio": 3}
    assert latest["ratio"]["median"] == 2.0
    assert set(latest["packages"]) == {"tensorflow", "keras", "numpy"}
    assert latest["date"].startswith("20")
    assert "a, 5: 2.0 times (2.0 to 2.0); usual 4.00 s; ours 2.00 s" in capsys.readouterr().out


def test_unknown_benchmark_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        run.main(["nothing"])
    assert "choose from reading, frozen, fine-tuning, memory" in capsys.readouterr().err


def test_copies_hold_each_image_of_each_split_in_its_class(tiny_set, tmp_path):
    dataset = data.find_images(tiny_set)
    again = run.copied(dataset, tmp_path / "copy")
    for split in data.SPLITS:
        before, after = getattr(dataset, split), getattr(again, split)
        np.testing.assert_array_equal(after.labels, before.labels)
        assert [Path(a).read_bytes() for a in after.paths] == [Path(b).read_bytes() for b in before.paths]


@pytest.fixture
def tiny(tiny_set, monkeypatch):
    """Every benchmark works on a few tiny images."""
    monkeypatch.setattr(run, "images_of", lambda lesson: data.find_images(tiny_set))
    monkeypatch.setattr(run, "PIXELS", {"03": 32, "04": 32})
    monkeypatch.setattr(run, "EPOCHS", 2)


@pytest.mark.usefixtures("tiny")
def test_frozen_extraction_is_compared_first_and_again_and_kept_features_are_used(monkeypatch):
    made, write = [], run.features._write
    monkeypatch.setattr(run.features, "_write", lambda path, *rest: made.append(path) or write(path, *rest))
    rows = run.frozen(repeats=2)
    assert list(rows) == ["frozen, first time", "frozen, again"]
    assert len(made) == 4, "train and validation, at each first time"
    for row in rows.values():
        assert len(row["ratio"]["all"]) == 2
        assert row["ours"]["accuracy"].endswith("of 3)")
    assert rows["frozen, first time"]["ours"] != rows["frozen, again"]["ours"]
    assert rows["frozen, first time"]["ours"]["accuracy"] == rows["frozen, again"]["ours"]["accuracy"]


@pytest.mark.usefixtures("tiny")
def test_fine_tuning_both_ways_changes_the_weights(monkeypatch):
    moved, fit = [], run.fit

    def observed(model, *rest, **more):
        before = [weights.numpy() for weights in model.trainable_weights]
        fit(model, *rest, **more)
        moved.append(max(np.abs(w.numpy() - b).max() for w, b in zip(model.trainable_weights, before, strict=True)))

    monkeypatch.setattr(run, "fit", observed)
    row = run.fine_tuning(repeats=1)["fine-tuning"]
    assert len(moved) == 2
    assert min(moved) > 0
    assert all(row[way]["accuracy"].endswith("of 3)") for way in ("usual", "ours"))


@pytest.mark.usefixtures("tiny")
def test_reading_counts_every_image_of_every_pass():
    rows = run.reading(repeats=1)
    assert list(rows) == ["reading, first pass", "reading, five passes"]
    assert all("7 training" in row["what"] for row in rows.values())


def test_peak_memory_is_that_of_a_new_process_for_each_way(monkeypatch):
    monkeypatch.setattr(run, "LOADED", (8,))
    row = run.memory(repeats=1)["memory, 8 images"]
    assert row["unit"] == "MB"
    assert all(100 < row[way]["median"] < 4000 for way in ("usual", "ours"))  # TensorFlow alone takes a few hundred


def test_failure_in_the_new_process_is_told(monkeypatch):
    monkeypatch.setattr(run, "LOADED", (0,))
    with pytest.raises(RuntimeError, match=r"(?s)usual, 0 images: .*need at least one array"):
        run.memory(repeats=1)
