import json
from pathlib import Path

import numpy as np
import pytest
import run

from helpers import config, data


def test_ratio_of_seconds_is_that_of_each_pair_and_above_1_where_ours_is_faster():
    result = run.compared([10.0, 20.0, 60.0], [5.0, 5.0, 6.0], "a test")
    assert result["ratio"] == {"median": 4.0, "min": 2.0, "max": 10.0, "all": [2.0, 4.0, 10.0]}
    assert result["usual"]["median"] == 20.0
    assert result["ours"]["all"] == [5.0, 5.0, 6.0]


def test_ratio_of_speeds_is_above_1_where_ours_is_faster():
    assert run.compared([100.0], [300.0], "a test", unit="images/s")["ratio"]["median"] == 3.0


@pytest.mark.parametrize(("power", "factor"), [(1, 3.0), (0, 7.0), (2, 0.1)])
def test_exponent_is_that_of_the_power_law(power, factor):
    n = (500, 2000, 20000)
    assert run.exponent(n, [factor * x**power for x in n]) == power


@pytest.mark.parametrize("way", ["usual", "ours"])
def test_pass_in_a_new_process_tells_seconds_and_peak_memory(way):
    got = run.in_process(way, 8)
    assert got["seconds"] > 0
    assert 100 < got["peak_mb"] < 4000  # TensorFlow alone takes a few hundred


def test_failure_in_the_new_process_is_told():
    with pytest.raises(RuntimeError, match="neither, 8 images"):
        run.in_process("neither", 8)


def test_pairs_are_repeated_and_written_down_with_real_images_only(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(run, "RESULT", tmp_path / "benchmarks.json")
    asked = []
    pair = {"a, 5": run.compared([4.0], [2.0], "what")}
    monkeypatch.setattr(run, "BENCHMARKS", {"a": lambda repeats: asked.append(repeats) or pair})
    assert run.main(["a", "--repeats", "7"]) == 0
    assert not run.RESULT.exists()
    monkeypatch.setattr(config, "data_folder", lambda: tmp_path)
    run.RESULT.write_text('{"b": 1}')
    assert run.main([]) == 0
    written = json.loads(run.RESULT.read_text())
    assert asked == [7, 5]
    assert written["b"] == 1
    assert written["a, 5"]["ratio"]["median"] == 2.0
    assert set(written["a, 5"]["packages"]) == {"tensorflow", "keras", "numpy"}
    assert "a, 5: 2.0 times (2.0 to 2.0); usual 4.00 s; ours 2.00 s" in capsys.readouterr().out


def test_unknown_benchmark_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        run.main(["nothing"])
    assert "choose from reading, frozen, fine-tuning, growth" in capsys.readouterr().err


def test_copies_hold_each_image_of_each_split_in_its_class(tiny_set, tmp_path):
    dataset = data.find_images(tiny_set)
    again = data.find_images(run.copied(dataset, tmp_path / "copy"))
    for split in data.SPLITS:
        before, after = getattr(dataset, split), getattr(again, split)
        np.testing.assert_array_equal(after.labels, before.labels)
        assert [Path(a).read_bytes() for a in after.paths] == [Path(b).read_bytes() for b in before.paths]


@pytest.fixture
def tiny(tiny_set, monkeypatch):
    """Every benchmark works on a few tiny images."""
    monkeypatch.setattr(run, "images_of", lambda lesson, per_class=None: data.find_images(tiny_set))
    monkeypatch.setattr(run, "PIXELS", 32)


def test_frozen_extraction_is_compared_first_and_again_to_the_same_epochs(tiny, monkeypatch):
    monkeypatch.setattr(run, "EPOCHS", (1, 2))
    rows = run.frozen(repeats=1)
    assert list(rows) == [f"frozen, {n} epochs, {when}" for n in (1, 2) for when in ("first time", "again")]
    for row in rows.values():
        assert len(row["ratio"]["all"]) == 1
        assert min(row["usual"]["min"], row["ours"]["min"]) > 0
        assert row["usual"]["accuracy"].endswith("of 3)")
    assert rows["frozen, 2 epochs, first time"]["usual"]["min"] > rows["frozen, 1 epochs, first time"]["usual"]["min"]
    assert rows["frozen, 1 epochs, first time"]["ours"]["min"] > rows["frozen, 1 epochs, again"]["ours"]["max"]


def test_fine_tuning_both_ways_gives_the_same_weights(tiny):
    row = run.fine_tuning(repeats=1)["fine-tuning"]
    assert row["largest_relative_difference_of_weights"] < 1e-3
    assert row["usual"]["accuracy"] == row["ours"]["accuracy"]
    assert row["ratio"]["median"] == pytest.approx(row["usual"]["median"] / row["ours"]["median"], rel=1e-2)


def test_reading_counts_every_image_of_every_pass(tiny):
    rows = run.reading(repeats=1)
    assert list(rows) == ["reading, first pass", "reading, five passes"]
    assert all(row["unit"] == "images/s" and "7 files" in row["what"] for row in rows.values())
