import json
from pathlib import Path

import numpy as np
import pytest
from conftest import load_script

from helpers import config, data


@pytest.fixture(scope="module")
def run():
    return load_script("benchmarks/run.py")


def test_ratio_of_seconds_is_that_of_each_pair_and_above_1_where_ours_is_faster(run):
    result = run.compared([10.0, 20.0, 60.0], [5.0, 5.0, 6.0], "a test")
    assert result["ratio"] == {"median": 4.0, "min": 2.0, "max": 10.0, "all": [2.0, 4.0, 10.0]}
    assert result["usual"]["median"] == 20.0
    assert result["ours"]["all"] == [5.0, 5.0, 6.0]


def test_ratio_of_speeds_is_above_1_where_ours_is_faster(run):
    assert run.compared([100.0], [300.0], "a test", unit="images/s")["ratio"]["median"] == 3.0


@pytest.mark.parametrize(("power", "factor"), [(1, 3.0), (0, 7.0), (2, 0.1)])
def test_exponent_is_that_of_the_power_law(run, power, factor):
    n = (500, 2000, 20000)
    assert run.exponent(n, [factor * x**power for x in n]) == power


@pytest.mark.parametrize("way", ["usual", "ours"])
def test_pass_in_a_new_process_tells_seconds_and_peak_memory(run, way):
    got = run.in_process(way, 8)
    assert got["seconds"] > 0
    assert 100 < got["peak_mb"] < 4000  # TensorFlow alone takes a few hundred


def test_failure_in_the_new_process_is_told(run):
    with pytest.raises(RuntimeError, match="neither, 8 images"):
        run.in_process("neither", 8)


def test_pairs_are_repeated_and_written_down_with_real_images_only(run, monkeypatch, tmp_path, capsys):
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


def test_unknown_benchmark_is_refused_with_the_known_ones(run, capsys):
    with pytest.raises(SystemExit):
        run.main(["nothing"])
    assert "choose from reading, frozen, fine-tuning, growth" in capsys.readouterr().err


def test_copies_hold_each_image_of_each_split_in_its_class(run, tiny_set, tmp_path):
    dataset = data.find_images(tiny_set)
    again = data.find_images(run.copied(dataset, tmp_path / "copy"))
    for split in data.SPLITS:
        before, after = getattr(dataset, split), getattr(again, split)
        np.testing.assert_array_equal(after.labels, before.labels)
        assert [Path(a).read_bytes() for a in after.paths] == [Path(b).read_bytes() for b in before.paths]
