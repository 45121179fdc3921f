import json
import math

import numpy as np
import pytest

from helpers import evaluation
from helpers.evaluation import Proportion


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [  # Wilson's intervals worked out by hand from p, n and z = 1.96
        (8, 10, 0.490, 0.943),
        (5, 10, 0.237, 0.763),
        (0, 10, 0.000, 0.278),
        (10, 10, 0.722, 1.000),
        (150, 200, 0.686, 0.805),
    ],
)
def test_wilson_interval_has_its_known_values(correct, total, low, high):
    # the values above have three decimals
    assert Proportion(correct, total).interval == pytest.approx((low, high), abs=0.0006)


def test_wilson_interval_of_a_perfect_score_is_not_a_point():
    low, high = Proportion(20, 20).interval
    assert low == pytest.approx(20 / (20 + 1.96**2), abs=1e-5)  # the formula with p = 1
    assert high == pytest.approx(1.0, abs=1e-12)  # rounding


def test_wilson_interval_of_no_hit_starts_at_zero():
    assert Proportion(0, 7).interval[0] == pytest.approx(0.0, abs=1e-12)  # rounding


def test_wilson_interval_narrows_with_more_images():
    widths = [np.diff(Proportion(n // 2, n).interval)[0] for n in (10, 100, 1000)]
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


def test_proportion_is_shown_with_its_interval_and_counts():
    assert str(Proportion(8, 10)) == "80.0% (95 % interval 49.0% to 94.3%, 8 of 10)"


@pytest.mark.parametrize(("correct", "total"), [(1, 0), (0, 0), (-1, 3), (4, 3)])
def test_impossible_proportion_is_refused(correct, total):
    with pytest.raises(ValueError, match=f"{correct} of {total} is no proportion"):
        Proportion(correct, total)


# six images of classes a, b, c and a class d that no image has; the third and the last are wrong
LABELS = np.array([0, 0, 1, 1, 2, 2])
PROBABILITIES = np.array(
    [
        [0.7, 0.1, 0.1, 0.1],
        [0.6, 0.2, 0.1, 0.1],
        [0.5, 0.3, 0.1, 0.1],
        [0.1, 0.8, 0.1, 0.0],
        [0.0, 0.0, 0.9, 0.1],
        [0.9, 0.0, 0.1, 0.0],
    ]
)


def test_accuracy_counts_the_hits_of_the_most_probable_class():
    assert evaluation.accuracy(LABELS, PROBABILITIES) == Proportion(4, 6)


def test_accuracy_takes_lists_and_logits():
    assert evaluation.accuracy([1, 0], [[-3.0, 4.0], [-1.0, 2.0]]) == Proportion(1, 2)


def test_confusion_has_true_classes_in_rows_and_keeps_absent_ones():
    counts = evaluation.confusion(LABELS, PROBABILITIES)
    assert counts.tolist() == [[2, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("names", ["abc", "abcde"])
def test_report_needs_a_name_for_each_class(names):
    with pytest.raises(ValueError, match=f"{len(names)} names were given for 4 classes: give one each"):
        evaluation.report(LABELS, PROBABILITIES, names)


def test_report_has_rates_of_each_class_and_their_mean():
    table = evaluation.report(LABELS, PROBABILITIES, ("a", "b", "c", "d"))
    assert list(table.columns) == ["precision", "recall", "F1", "images"]
    assert table.loc["a"].tolist() == [0.5, 1.0, 0.667, 2]
    assert table.loc["b"].tolist() == [1.0, 0.5, 0.667, 2]
    assert table.loc["d"].tolist() == [0.0, 0.0, 0.0, 0]
    assert table.loc["mean"].tolist() == [0.833, 0.667, 0.667, 6]


@pytest.mark.parametrize(("lost", "resolved"), [(5, False), (6, True)])
def test_a_difference_that_rests_on_fewer_than_six_images_is_not_resolved(lost, resolved):
    right, wrong = [1.0, 0.0], [0.0, 1.0]
    found = evaluation.paired_difference([0] * 128, [right] * 128, [wrong] * lost + [right] * (128 - lost))
    assert found.interval[0] > 0  # all of them speak for one side
    assert (found.resolved, str(found).endswith(": resolved")) == (resolved, resolved)


def test_most_confident_mistakes_come_surest_first():
    assert evaluation.most_confident_mistakes(LABELS, PROBABILITIES).tolist() == [5, 2]


def test_most_confident_mistakes_are_at_most_as_many_as_asked_for():
    assert evaluation.most_confident_mistakes(LABELS, PROBABILITIES, most=1).tolist() == [5]


def test_no_mistakes_give_an_empty_result():
    assert evaluation.most_confident_mistakes(LABELS[:2], PROBABILITIES[:2]).tolist() == []


@pytest.mark.parametrize(
    "function",
    [
        evaluation.accuracy,
        evaluation.confusion,
        evaluation.most_confident_mistakes,
        lambda labels, probabilities: evaluation.report(labels, probabilities, "abcd"),
    ],
)
@pytest.mark.parametrize(
    ("labels", "probabilities"),
    [(LABELS[:5], PROBABILITIES), (LABELS[:4], PROBABILITIES[0]), (PROBABILITIES, PROBABILITIES)],
)
def test_labels_and_probabilities_that_do_not_belong_together_are_refused(function, labels, probabilities):
    with pytest.raises(ValueError, match="do not belong together") as error:
        function(labels, probabilities)
    assert str(labels.shape) in str(error.value)
    assert str(probabilities.shape) in str(error.value)


@pytest.fixture
def shown(monkeypatch) -> list[dict]:
    """What ``display`` was given."""
    calls = []

    def display(data, raw):
        assert raw
        calls.append(data)

    monkeypatch.setattr(evaluation, "display", display)
    return calls


def test_figures_are_shown_to_the_reader_and_handed_over_as_values(shown):
    evaluation.show_results(test_accuracy=0.75, images=200, note=Proportion(8, 10))
    (data,) = shown
    assert set(data) == {"text/plain", "application/vnd.transfer-learning-course.results+json"}
    assert data[evaluation.RESULTS_MIME_TYPE] == {"test_accuracy": 0.75, "images": 200, "note": str(Proportion(8, 10))}
    assert data["text/plain"].splitlines()[:2] == ["test accuracy: 0.75", "images: 200"]


@pytest.mark.parametrize("value", [np.int64(5), np.float32(0.5), np.float64(0.5), 3, 0.25])
def test_numbers_of_numpy_are_handed_over_as_numbers(shown, value):
    evaluation.show_results(value=value)
    assert json.loads(json.dumps(shown[0][evaluation.RESULTS_MIME_TYPE])) == {"value": value}


@pytest.mark.parametrize("total", [7, 10, 13, 20, 200])
def test_wilson_interval_holds_its_proportion(total):
    for correct in range(total + 1):
        low, high = Proportion(correct, total).interval
        assert 0 <= low <= correct / total <= high <= 1


# A diverged model


DIVERGED = np.full((3, 2), np.nan)


@pytest.mark.parametrize(
    "function",
    [
        evaluation.accuracy,
        evaluation.confusion,
        evaluation.most_confident_mistakes,
        lambda labels, p: evaluation.report(labels, p, "ab"),
        lambda labels, p: evaluation.paired_difference(labels, p, p),
    ],
)
def test_what_is_not_a_number_gets_no_accuracy(function):
    with pytest.raises(ValueError, match="the model has diverged"):
        function(np.array([0, 0, 1]), DIVERGED)


def probabilities_of(right):
    """Probabilities of two classes whose argmax is right where told; the labels are all 0."""
    return np.where(np.asarray(right)[..., np.newaxis], [0.9, 0.1], [0.1, 0.9])


def test_difference_counts_where_two_models_disagree():
    first, second = np.arange(100) < 80, np.arange(100) >= 40
    found = evaluation.paired_difference(np.zeros(100, int), probabilities_of(first), probabilities_of(second))
    assert found.value == pytest.approx(0.2)
    assert (found.only_first, found.only_second) == (40, 20)
    low, high = found.interval
    assert low == pytest.approx(0.2 - 1.96 * math.sqrt(0.56 / 100), abs=0.02)  # the variance of +1, -1 and 0
    assert high == pytest.approx(0.2 + 1.96 * math.sqrt(0.56 / 100), abs=0.02)
    assert found.resolved
    assert str(found) == f"+20.0 points (95 % interval {100 * low:+.1f} to {100 * high:+.1f}): resolved"


def test_models_that_agree_on_nearly_all_images_are_told_apart_sharply():
    first, second = np.arange(1000) < 520, np.arange(1000) < 500  # two intervals of one accuracy would overlap
    assert evaluation.paired_difference(np.zeros(1000, int), probabilities_of(first), probabilities_of(second)).resolved


def test_equal_models_do_not_differ():
    right = probabilities_of(np.arange(50) % 2 == 0)
    found = evaluation.paired_difference(np.zeros(50, int), right, right)
    assert (found.value, found.interval, found.resolved) == (0, (0, 0), False)


def test_seeds_are_compared_one_by_one():
    rng = np.random.default_rng(0)
    labels = np.zeros(200, int)
    worse = rng.random((3, 200)) < np.array([[0.2], [0.5], [0.8]])
    better = worse | (rng.random((3, 200)) < 0.1)
    together = evaluation.paired_difference(labels, probabilities_of(better), probabilities_of(worse))
    apart = evaluation.paired_difference(labels, probabilities_of(better), probabilities_of(worse[::-1]))
    assert together.value == pytest.approx(apart.value)
    assert together.resolved
    assert not apart.resolved
    with pytest.raises(ValueError, match="2 seeds and 3 seeds"):
        evaluation.paired_difference(labels, probabilities_of(better[:2]), probabilities_of(worse))


def test_seeds_that_disagree_widen_the_interval():
    labels, steady = np.zeros(400, int), np.arange(400) % 2 == 0
    rng = np.random.default_rng(0)
    runs = np.stack([rng.random(400) < accuracy for accuracy in (0.4, 0.6, 0.8)])
    of_seeds = evaluation.paired_difference(labels, probabilities_of(runs), probabilities_of(steady))
    of_one = evaluation.paired_difference(labels, probabilities_of(runs[1]), probabilities_of(steady))
    assert of_seeds.value == pytest.approx(runs.mean() - 0.5)
    assert np.diff(of_seeds.interval) > 1.5 * np.diff(of_one.interval)


def test_images_of_one_series_are_drawn_together():
    labels, series = np.zeros(200, int), np.repeat(np.arange(20), 10)
    first, second = np.random.default_rng(0).random(20)[series] < 0.6, np.zeros(200, bool)  # a series is right or wrong
    alone = evaluation.paired_difference(labels, probabilities_of(first), probabilities_of(second))
    together = evaluation.paired_difference(labels, probabilities_of(first), probabilities_of(second), series)
    each_alone = evaluation.paired_difference(labels, probabilities_of(first), probabilities_of(second), np.arange(200))
    assert together.value == alone.value
    assert each_alone == alone
    assert np.diff(together.interval) == pytest.approx(np.sqrt(10) * np.diff(alone.interval), rel=0.15)
    with pytest.raises(ValueError, match="3 numbers of a series for 200 images"):
        evaluation.paired_difference(labels, probabilities_of(first), probabilities_of(second), np.arange(3))


# Recorded results


def test_recorded_results_are_shown_sample_first(tmp_path):
    for run, value in (("full", 0.9), ("sample", 0.8)):
        result = dict(run=run, backbone="X", seconds=7, figures={"test_accuracy": value, run: "yes"})
        (tmp_path / f"02_{run}_X.json").write_text(json.dumps(result))
    table = evaluation.recorded("02", tmp_path)
    assert list(table.columns) == ["sample, X", "full, X"]
    assert table.loc["test accuracy"].tolist() == ["0.8", "0.9"]
    assert table.loc["full"].tolist() == ["–", "yes"]
    assert evaluation.recorded("03", tmp_path).empty


def test_recorded_results_are_shown_to_their_last_letter(tmp_path):
    text = "+12.0 points (95 % interval +10.2 to +13.8): not resolved"
    result = dict(run="full", backbone="X", seconds=7, figures={"gain": text})
    (tmp_path / "02_full_X.json").write_text(json.dumps(result))
    table = evaluation.recorded("02", tmp_path)
    assert text in repr(table)
    assert text in table.to_html()


# Calibration


def test_calibration_compares_confidence_with_the_share_that_is_right():
    probabilities = np.array([[0.95, 0.05]] * 4 + [[0.35, 0.65]] * 2 + [[0.0, 1.0]])
    labels = np.array([0, 0, 0, 1, 1, 0, 1])
    found = evaluation.calibration(labels, probabilities)
    assert found.confidence == pytest.approx([0.65, (4 * 0.95 + 1) / 5])
    assert found.accuracy == pytest.approx([1 / 2, 4 / 5])
    assert found.images.tolist() == [2, 5]
    assert found.error == pytest.approx((2 * 0.15 + 5 * 0.16) / 7)


def test_a_model_that_is_as_sure_as_it_is_right_has_no_calibration_error(rng):
    sure = rng.uniform(0.5, 1, 20_000)
    labels = (rng.random(20_000) > sure).astype(int)
    found = evaluation.calibration(labels, np.stack([sure, 1 - sure], axis=1))
    assert found.error < 0.015
    assert len(found.images) == 5  # no image is less sure than half


def test_calibration_refuses_logits_and_nothing():
    for wrong in (np.array([[2.0, -1.0]]), np.array([[0.5, 0.1]]), np.zeros((0, 2))):
        with pytest.raises(ValueError, match="probabilities that add up to 1: put logits through a softmax"):
            evaluation.calibration(np.zeros(len(wrong), int), wrong)


def test_two_models_are_not_compared_on_no_images():
    with pytest.raises(ValueError, match="no images to compare"):
        evaluation.paired_difference(np.array([], int), np.zeros((0, 2)), np.zeros((0, 2)))
