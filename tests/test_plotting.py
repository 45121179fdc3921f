import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from helpers import plotting
from helpers.evaluation import Difference, Proportion

HISTORY = {
    "accuracy": [0.5, 0.7, 0.8],
    "val_accuracy": [0.4, 0.6, 0.65],
    "loss": [2.0, 1.0, 0.5],
    "val_loss": [2.1, 1.5, 1.4],
}


@pytest.fixture(autouse=True)
def never_shown(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *_, **__: pytest.fail("plt.show was called"))


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, size=(5, 8, 8, 3), dtype=np.uint8)


def legend_texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def line(axes: Axes, label: str):
    return next(found for found in axes.get_lines() if found.get_label() == label)


def figure_legend(axes: Axes) -> list[str]:
    (legend,) = axes.figure.legends
    return [text.get_text() for text in legend.get_texts()]


def container(axes: Axes, label: str):
    return next(found for found in axes.containers if found.get_label() == label)


def test_image_grid_shows_each_image_with_its_title(images):
    axes = plotting.image_grid(images, titles=list("abcde"), columns=3)
    assert [a.get_title() for a in axes] == list("abcde")
    for a, image in zip(axes, images, strict=True):
        np.testing.assert_array_equal(a.get_images()[0].get_array(), image)
    assert len(axes[0].figure.axes) == 6  # two rows of three, the last place empty
    assert not any(a.axison for a in axes[0].figure.axes)


def test_titles_of_predictions_do_not_overlap(images):
    probabilities = np.tile([1.0, 0.0], (4, 1))
    axes = plotting.predictions(images[:4], np.ones(4, int), probabilities, ["yoghurt", "melon"])
    renderer = axes[0].figure.canvas.get_renderer()
    boxes = [a.title.get_window_extent(renderer) for a in axes]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_image_grid_needs_no_titles(images):
    assert [a.get_title() for a in plotting.image_grid(images)] == [""] * 5


def test_image_grid_takes_floats_and_clips_what_is_out_of_range():
    image = np.array([[[-5.0, 100.4, 300.0]]])
    (axes,) = plotting.image_grid(image[None], columns=1)
    np.testing.assert_array_equal(axes.get_images()[0].get_array(), [[[0, 100, 255]]])


def test_image_grid_colours_titles_as_told(images):
    axes = plotting.image_grid(images[:2], ["a", "b"], colours=["#112233", "#445566"])
    assert [to_hex(a.title.get_color()) for a in axes] == ["#112233", "#445566"]


def test_predictions_are_blue_where_right_and_vermilion_with_the_truth_where_wrong(images):
    probabilities = np.array([[0.9, 0.1], [0.736, 0.264]])
    right, wrong = plotting.predictions(images[:2], np.array([0, 1]), probabilities, ["cat", "dog"])
    assert right.get_title() == "cat 90%"
    assert to_hex(right.title.get_color()) == plotting.BLUE.lower()
    assert wrong.get_title() == "predicted cat 74%\ntrue dog"
    assert to_hex(wrong.title.get_color()) == plotting.VERMILION.lower()


def test_learning_curves_show_training_and_validation_of_each_epoch():
    both = plotting.learning_curves(HISTORY, title="Head only")
    for axes, name in zip(both, ("accuracy", "loss"), strict=True):
        for label, key in (("training", name), ("validation", f"val_{name}")):
            assert line(axes, label).get_xdata().tolist() == [1, 2, 3]
            assert list(line(axes, label).get_ydata()) == HISTORY[key]
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", name)
        assert axes.get_xticks().tolist() == [1, 2, 3]
        assert line(axes, "training").get_color() != line(axes, "validation").get_color()
    assert both[0].get_ylim()[1] == pytest.approx(1.02)
    assert both[1].get_ylim()[0] == 0
    assert figure_legend(both[0]) == ["training", "validation"]
    assert both[0].figure.get_suptitle() == "Head only"


def test_learning_curves_without_validation_show_training_alone():
    both = plotting.learning_curves({"accuracy": [0.5], "loss": [1.0]})
    assert figure_legend(both[0]) == ["training"]


@pytest.mark.parametrize("epochs_before", [0, 2])
def test_learning_curves_mark_where_fine_tuning_begins(epochs_before):
    for axes in plotting.learning_curves(HISTORY, fine_tuning_after=epochs_before):
        mark = line(axes, "fine-tuning begins")
        assert list(mark.get_xdata()) == [epochs_before + 0.5] * 2  # between the last epoch before and the first after
        assert list(mark.get_ydata()) == [0, 1]  # from bottom to top of the Axes
        assert figure_legend(axes) == ["training", "validation", "fine-tuning begins"]
        assert axes.get_xticks().tolist() == [1, 2, 3]


def test_long_training_has_few_ticks():
    axes, _ = plotting.learning_curves({"accuracy": [0.5] * 95, "loss": [1.0] * 95})
    assert 5 <= len(axes.get_xticks()) <= 12


def test_compare_runs_draws_one_metric_of_each_run_and_guessing():
    histories = {"frozen": HISTORY, "scratch": {"val_accuracy": [0.1, 0.2]}}
    axes = plotting.compare_runs(histories, chance=0.1)
    assert isinstance(axes, Axes)
    assert list(line(axes, "frozen").get_ydata()) == HISTORY["val_accuracy"]
    assert list(line(axes, "scratch").get_ydata()) == [0.1, 0.2]
    assert line(axes, "frozen").get_color() != line(axes, "scratch").get_color()
    assert set(line(axes, "guessing, 10%").get_ydata()) == {0.1}
    assert legend_texts(axes) == ["frozen", "scratch", "guessing, 10%"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "validation accuracy")
    assert axes.get_xticks().tolist() == [1, 2, 3]
    assert line(axes, "frozen").get_linestyle() != line(axes, "scratch").get_linestyle()  # in greyscale too


def test_compare_runs_takes_another_metric_and_given_axes():
    _, given = plt.subplots()
    axes = plotting.compare_runs({"frozen": HISTORY}, metric="loss", axes=given)
    assert axes is given
    assert axes.get_ylabel() == "training loss"
    assert legend_texts(axes) == ["frozen"]


ACCURACIES = {"frozen": np.array([[0.6, 0.8], [0.7, 0.9], [0.8, 0.9]]), "scratch": [[0.1, 0.3], [0.2, 0.3], [0.3, 0.6]]}


def test_accuracy_against_images_shows_every_run_and_the_mean_over_seeds():
    axes = plotting.accuracy_against_images([5, 40], ACCURACIES, chance=0.1)
    for name, values in ACCURACIES.items():
        drawn = line(axes, name)
        np.testing.assert_allclose(drawn.get_ydata(), np.mean(values, axis=0))
        np.testing.assert_allclose(drawn.get_xdata(), [5, 40], rtol=0.05)
        runs = [each.get_ydata() for each in axes.lines if len(each.get_ydata()) == np.size(values)]
        assert any(np.array_equal(ydata, np.ravel(values)) for ydata in runs)
    assert not np.allclose(line(axes, "frozen").get_xdata(), line(axes, "scratch").get_xdata())
    assert set(line(axes, "guessing, 10%").get_ydata()) == {0.1}


def test_guesses_are_drawn_as_stars_where_there_are_any():
    guesses = {"frozen": [0.5, 0.7], "scratch": None}
    axes = plotting.accuracy_against_images([5, 40], ACCURACIES, 0.1, guesses)
    (star,) = [each for each in axes.lines if each.get_marker() == "*"]
    assert list(star.get_ydata()) == [0.5, 0.7]
    values = {"a": Proportion(8, 10), "b": Proportion(5, 10)}
    axes = plotting.proportions(values, guesses={"b": 0.9, "a": None})
    (star,) = [each for each in axes.lines if each.get_marker() == "*"]
    assert (list(star.get_xdata()), list(star.get_ydata())) == ([0.9], [1])
    nothing = plotting.proportions(values, guesses={"a": None, "b": None})
    assert not [each for each in nothing.lines if each.get_marker() == "*"]


def test_accuracy_against_images_labels_the_numbers_of_images_on_a_logarithmic_axis():
    axes = plotting.accuracy_against_images([5, 40], ACCURACIES, chance=0.1)
    assert axes.get_xscale() == "log"
    assert axes.get_xticks().tolist() == [5, 40]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["5", "40"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("training images per class (logarithmic)", "test accuracy")
    assert axes.get_ylim() == pytest.approx((0, 1.02))
    assert set(legend_texts(axes)) == {"frozen", "scratch", "guessing, 10%"}


def test_accuracy_against_images_draws_where_told():
    _, given = plt.subplots()
    assert plotting.accuracy_against_images([5, 40], ACCURACIES, chance=0.1, axes=given) is given


PROPORTIONS = {"frozen_base": Proportion(80, 100), "fine-tuned": Proportion(18, 20), "scratch": Proportion(1, 10)}


def test_proportions_are_points_with_their_intervals_one_a_row_from_the_top():
    axes = plotting.proportions(PROPORTIONS)
    assert isinstance(axes, Axes)
    ((drawn, _, (bars,)),) = axes.containers
    assert list(drawn.get_xdata()) == [0.8, 0.9, 0.1]
    assert list(drawn.get_ydata()) == [0, 1, 2]
    ends = [tuple(segment[:, 0]) for segment in bars.get_segments()]
    np.testing.assert_allclose(ends, [p.interval for p in PROPORTIONS.values()])
    assert axes.yaxis_inverted()
    assert axes.get_yticks().tolist() == [0, 1, 2]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["frozen base", "fine-tuned", "scratch"]
    assert axes.get_xlabel() == "accuracy"
    assert axes.get_xlim() == pytest.approx((0, 1.02))


def test_proportions_show_guessing_where_it_is_given():
    axes = plotting.proportions(PROPORTIONS, chance=0.5)
    assert set(line(axes, "guessing, 50%").get_xdata()) == {0.5}
    assert legend_texts(axes) == ["guessing, 50%"]
    without = plotting.proportions(PROPORTIONS)
    assert without.get_legend() is None
    assert len(without.get_lines()) == len(axes.get_lines()) - 1


def test_proportions_are_drawn_where_told():
    _, given = plt.subplots()
    assert plotting.proportions(PROPORTIONS, axes=given) is given


DIFFERENCES = {"new_background": Difference(0.2, (0.1, 0.3), 30, 10), "CORAL": Difference(-0.05, (-0.15, 0.05), 5, 10)}


def test_differences_are_points_in_per_cent_with_their_intervals_and_filled_where_resolved():
    axes = plotting.differences(DIFFERENCES, "points gained")
    drawn = [container.lines for container in axes.containers]
    assert [(points.get_xdata()[0], points.get_ydata()[0]) for points, _, _ in drawn] == [(20, 0), (-5, 1)]
    ends = [tuple(bars.get_segments()[0][:, 0]) for _, _, (bars,) in drawn]
    np.testing.assert_allclose(ends, [(10, 30), (-15, 5)])
    assert [to_hex(points.get_markerfacecolor()) for points, _, _ in drawn] == [plotting.BLUE.lower(), "#ffffff"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["new background", "CORAL"]
    assert axes.get_xlabel() == "points gained"
    assert axes.yaxis_inverted()


def test_differences_are_drawn_where_told():
    _, given = plt.subplots()
    assert plotting.differences(DIFFERENCES, "points", axes=given) is given


def test_confusion_matrix_shows_counts_and_shades_by_the_share_of_the_row():
    axes = plotting.confusion_matrix([[8, 2, 0], [0, 1, 0], [0, 0, 0]], ["ice_cream", "pizza", "ramen"])
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["8", "2", "", "", "1", "", "", "", ""]
    shares = np.asarray(axes.collections[0].get_array()).reshape(3, 3)
    np.testing.assert_allclose(shares, [[0.8, 0.2, 0], [0, 1, 0], [0, 0, 0]])
    assert axes.collections[0].get_clim() == (0, 1)
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["ice cream", "pizza", "ramen"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")


def test_confusion_matrix_draws_where_told():
    _, given = plt.subplots()
    assert plotting.confusion_matrix(np.eye(2, dtype=int), ["a", "b"], axes=given) is given


def test_feature_maps_show_the_most_varied_channels_one_row_a_layer(rng):
    activations = rng.normal(size=(6, 6, 4)) * [1, 10, 0.1, 5]
    grid = plotting.feature_maps({"first layer": activations, "second layer": activations[..., :1]}, columns=2)
    assert grid.shape == (2, 2)
    for axes, channel in zip(grid[0], (1, 3), strict=True):
        np.testing.assert_array_equal(axes.get_images()[0].get_array(), activations[..., channel])
    assert len(grid[1, 1].get_images()) == 0  # a layer of one channel leaves the place empty
    assert not any(axes.axison for axes in grid.flat)
    assert [row[0].get_title(loc="left") for row in grid] == ["first layer", "second layer"]


def test_feature_maps_show_channels_that_look_alike_once_and_constant_ones_never(rng):
    first, second = rng.normal(size=(2, 6, 6))
    activations = np.stack([3 * first, -2 * first, second, np.ones((6, 6))], axis=-1)
    (row,) = plotting.feature_maps({"a layer": activations}, columns=3)
    shown = [axes.get_images()[0].get_array() for axes in row if axes.get_images()]
    np.testing.assert_array_equal(shown, [3 * first, second])


def test_curves_beyond_the_number_of_colours_start_over():
    histories = {str(i): HISTORY for i in range(len(plotting.COLOURS) + 1)}
    axes = plotting.compare_runs(histories)
    drawn = [found.get_color() for found in axes.get_lines()]
    assert drawn == [*plotting.COLOURS, plotting.COLOURS[0]]


@pytest.mark.parametrize("proportion", [Proportion(0, 7), Proportion(10, 10)])
def test_proportions_of_nothing_and_of_everything_can_be_shown(proportion):
    assert len(plotting.proportions({"all or nothing": proportion}).containers) == 1


# What is refused


def test_pixels_between_0_and_1_are_refused_and_not_drawn_black(images):
    with pytest.raises(ValueError, match=r"lie in \[0, 1\].*multiply them by 255"):
        plotting.image_grid(images[:1] / 255)


def test_curve_that_is_missing_is_named():
    with pytest.raises(ValueError, match="has no 'loss': it has accuracy"):
        plotting.learning_curves({"accuracy": [0.5]})
    with pytest.raises(ValueError, match="The history of b has no 'val_accuracy'"):
        plotting.compare_runs({"a": HISTORY, "b": {"loss": [1.0]}})


def test_wrong_number_of_names_is_refused():
    with pytest.raises(ValueError, match="3 names for counts of shape"):
        plotting.confusion_matrix(np.eye(2, dtype=int), ["a", "b", "c"])


def test_dollar_signs_are_no_mathematics(images):
    (axes,) = plotting.image_grid(images[:1], ["$5 and $6_"])
    axes.figure.canvas.draw()
    plotting.parts([("$x", "fixed")]).figure.canvas.draw()


# Distributions, points and diagrams


def test_points_of_each_class_have_a_marker_and_a_colour_of_their_own(rng):
    labels = np.repeat(np.arange(10), 3)
    axes = plotting.feature_scatter(rng.normal(size=(30, 2)), labels, [f"class_{i}" for i in range(10)])
    assert [len(each.get_offsets()) for each in axes.collections] == [3] * 10
    looks = {(str(c.get_facecolor()), c.get_paths()[0].vertices.tobytes()) for c in axes.collections}
    assert len(looks) == 10
    assert legend_texts(axes)[0] == "class 0"


def test_parts_show_what_is_frozen_and_where_outputs_are_kept():
    axes = plotting.parts([("pixels", "fixed"), ("network", "frozen"), ("head", "trained")], kept_after=1)
    boxes = [patch for patch in axes.patches if patch.get_width() > 0.5]
    assert [bool(box.get_hatch()) for box in boxes] == [False, True, False]
    assert to_hex(boxes[2].get_facecolor()) == plotting.ORANGE.lower()
    assert legend_texts(axes) == ["frozen", "trained", "nothing to train"]
    (kept,) = axes.lines
    assert boxes[1].get_x() + boxes[1].get_width() < kept.get_xdata()[0] < boxes[2].get_x()
    with pytest.raises(ValueError, match="no state 'hot': choose from frozen, trained, fixed"):
        plotting.parts([("head", "hot")])


def test_block_names_each_step_and_its_shortcut():
    axes = plotting.block(["widen", "filter"], shortcut="unchanged")
    texts = [text.get_text() for text in axes.texts]
    assert {"widen", "filter", "+", "unchanged", "input", "output"} <= set(texts)


# What a model looks at, how sure it is, and which rate it takes


def test_grad_cam_shows_each_photograph_above_its_heat(images):
    heat = np.zeros((5, 8, 8), np.float32)
    heat[:4, 2:5, 2:5] = 1
    pairs = plotting.grad_cam(images, heat, [f"no. {i}" for i in range(5)], columns=3)
    assert pairs.shape == (5, 2)
    for i, (above, below) in enumerate(pairs):
        np.testing.assert_array_equal(above.images[0].get_array(), images[i])
        np.testing.assert_array_equal(below.images[1].get_array(), heat[i])
        assert above.get_title() == f"no. {i}"
        above_box, below_box = above.get_position(), below.get_position()
        assert above_box.x0 == pytest.approx(below_box.x0)
        assert above_box.y0 > below_box.y0
    assert len(pairs[0, 1].collections) == 1  # the line around the hottest places
    assert len(pairs[4, 1].collections) == 0  # no heat, no line
    assert pairs[0, 0].get_position().y0 == pairs[2, 0].get_position().y0 > pairs[3, 0].get_position().y0


def test_embedding_map_frames_thumbnails_in_their_class_and_does_not_pile_them_up(rng):
    points, labels = rng.uniform(size=(200, 2)), np.arange(200) % 3
    pictures = rng.integers(0, 256, (200, 16, 16, 3), dtype=np.uint8)
    axes = plotting.embedding_map(points, labels, ["a", "b", "c"], pictures, most=20)
    boxes = [each for each in axes.get_children() if type(each).__name__ == "AnnotationBbox"]
    assert 10 < len(boxes) <= 20
    places = np.array([box.xy for box in boxes])
    apart = np.abs(places[:, np.newaxis] - places).max(axis=-1) + np.eye(len(boxes))
    assert apart.min() > 1 / 14
    for box in boxes:
        (number,) = np.flatnonzero((points == box.xy).all(axis=1))
        assert to_hex(box.patch.get_edgecolor()) == plotting.COLOURS[labels[number]].lower()
    assert len(axes.collections) == 3 + len(boxes)  # each thumbnail has its class's marker
    assert legend_texts(axes) == ["a", "b", "c"]
    assert not [x for x in plotting.embedding_map(points, labels, "abc").get_children() if "Bbox" in type(x).__name__]


def test_reliability_shows_bins_with_their_numbers_beside_the_diagonal():
    axes = plotting.reliability(np.array([0.5, 0.9]), np.array([0.4, 0.95]), np.array([7, 30]))
    np.testing.assert_array_equal(line(axes, "the model").get_ydata(), [0.4, 0.95])
    np.testing.assert_array_equal(line(axes, "as sure as right").get_ydata(), [0, 1])
    assert [text.get_text() for text in axes.texts] == ["7", "30"]
    (low, high), (lower, upper) = (segment[:, 1] for segment in axes.collections[0].get_segments())
    assert 0 < low < 0.4 < high < 1
    assert upper - lower < high - low  # more images, a narrower interval


def test_rate_range_is_logarithmic_and_marks_the_suggestion():
    axes = plotting.rate_range(np.array([1e-4, 1e-2, 1.0]), np.array([2.0, 0.5, 9.0]), 1e-3)
    assert axes.get_xscale() == "log"
    assert line(axes, "suggested: 1.0e-03").get_xdata()[0] == 1e-3


def test_no_images_make_no_figure():
    assert plotting.image_grid(np.zeros((0, 8, 8, 3))).shape == (0,)
    assert plotting.predictions(np.zeros((0, 8, 8, 3)), [], np.zeros((0, 2)), ["a", "b"]).shape == (0,)
