"""What the lessons do, checked on their own cells: run with the named backbone, random weights and few pixels.

Each test takes cells of a stored lesson by a line in them, so a lesson that changes is tested as it has become.
"""

import dataclasses
import os

import keras
import nbformat
import numpy as np
import pytest
import tensorflow as tf

from helpers import callbacks, config, data, evaluation, features, hardware, models, plotting

SIZE, BATCH = 32, 4
CODE = {
    path.stem[:2]: [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    for path in (config.ROOT / "notebooks").glob("[0-9]*.ipynb")
}


def run_cells(lesson: str, namespace: dict, *lines: str) -> dict:
    """Run, in the order given, the one cell of a lesson that holds each line."""
    for line in lines:
        (source,) = [source for source in CODE[lesson] if line in source]
        exec(compile(source, f"lesson {lesson}: {line}", "exec"), namespace)
    return namespace


def small(settings: config.Settings) -> config.Settings:
    return dataclasses.replace(settings, image_size=SIZE, batch_size=BATCH, epochs=1, fine_tuning_epochs=1)


@pytest.fixture
def names(monkeypatch) -> dict:
    """What every lesson imports, with backbones of random weights."""
    real = models.backbone
    monkeypatch.setattr(models, "backbone", lambda name, image_size, **options: real(name, image_size, None, **options))
    keras.utils.set_random_seed(0)
    return dict(
        keras=keras, np=np, os=os, config=config, models=models, data=data, callbacks=callbacks, evaluation=evaluation,
        plotting=plotting, features=features, hardware=hardware, precision="float32",
    )  # fmt: skip


@pytest.fixture
def images(rng) -> np.ndarray:
    return rng.uniform(0, 255, size=(BATCH, SIZE, SIZE, 3)).astype(np.float32)


@pytest.fixture
def half_precision(set_precision):
    set_precision("mixed_float16")


def assert_ends_in_float32(model, images, labels):
    """The hidden layers compute in float16, the last one does not, and a training step gives a finite loss."""
    last = model.layers[-1]
    while isinstance(last, keras.Model):
        last = last.layers[-1]
    assert any(layer.compute_dtype == "float16" for layer in model.layers)
    assert last.compute_dtype == "float32"
    assert np.isfinite(model.fit(images, labels, verbose=0).history["loss"]).all()


def assert_reloads(model, images, path, **tolerance):
    """A new process that knows nothing of the course must load the saved model and predict the same."""
    model.save(path)
    here = keras.ops.convert_to_numpy(model(images, training=False))
    np.testing.assert_allclose(models.predict_in_new_process(path, images), here, **tolerance)


# Lesson 03


@pytest.fixture
def lesson_03(names, images):
    names["settings"] = small(config.settings("03", "full"))
    names["dataset"] = data.Dataset(*[data.Images(np.array([]), np.array([]), ("cat", "dog"))] * 3)
    names["backbone"] = models.backbone("VGG16", SIZE)
    names["backbone"].trainable = False
    names["last_frozen"] = models.FREEZE_POINTS["VGG16"][names["settings"].unfrozen]
    names |= dict(tf=tf, train=tf.data.Dataset.from_tensors((images, np.array([0, 1, 0, 1]))))
    return run_cells(
        "03", names, "augmentations = {", "augmentation = keras.Sequential(", "    [\n        keras.Input("
    )


def test_augmentation_of_lesson_03_is_off_at_evaluation_and_on_in_training(lesson_03, images):
    model, augmentation = lesson_03["model"], lesson_03["augmentation"]
    without = keras.Sequential([layer for layer in model.layers if layer is not augmentation])
    np.testing.assert_array_equal(model.predict(images, verbose=0), without.predict(images, verbose=0))
    np.testing.assert_array_equal(augmentation(images, training=False), images)
    for name, layer in lesson_03["augmentations"].items():
        assert any(np.any(layer(images, training=True) != images) for _ in range(5)), f"{name} changes nothing"


def test_loss_of_lesson_03_fits_its_sigmoid_in_both_phases(lesson_03):
    run_cells("03", lesson_03, "a sigmoid needs the binary", "use_ema=True")
    assert models.loss_fits_output(lesson_03["model"])
    assert lesson_03["model"].optimizer.learning_rate < lesson_03["settings"].learning_rate


def test_phase_2_of_lesson_03_trains_block_5_of_vgg16_and_the_head_alone(lesson_03, images):
    run_cells("03", lesson_03, "layer.name == last_frozen", "use_ema=True")
    model = lesson_03["model"]
    before = {weight.path: weight.numpy() for weight in model.weights}
    model.fit(images, np.array([0, 1, 0, 1]), epochs=2, verbose=0)
    changed = {weight.path for weight in model.weights if not np.array_equal(weight, before[weight.path])}
    layers = {path.split("/")[-2] for path in changed}
    assert layers == {"block5_conv1", "block5_conv2", "block5_conv3", "head"}


def test_saved_model_of_lesson_03_reloads_in_a_new_process(lesson_03, images, tmp_path):
    assert_reloads(lesson_03["model"], images, tmp_path / "03.keras", rtol=1e-4, atol=1e-5)  # float32, another process


def test_model_of_lesson_03_ends_in_float32_where_a_gpu_computes_in_float16(half_precision, lesson_03, images):
    run_cells("03", lesson_03, "a sigmoid needs the binary")
    assert_ends_in_float32(lesson_03["model"], images, np.array([0, 1, 0, 1]))


# Lesson 04


@pytest.fixture
def lesson_04(names, rng):
    names["settings"] = dataclasses.replace(small(config.settings("04", "full")), views=1)
    names["dataset"] = data.Dataset(
        *[data.Images(np.arange(64).astype(str), np.arange(64) % 10, tuple("abcdefghij"))] * 3
    )
    names["freeze_points"] = models.FREEZE_POINTS["MobileNetV2"]
    backbone = models.backbone("MobileNetV2", SIZE)
    points = {name: backbone.get_layer(layer).output for name, layer in names["freeze_points"].items()}
    points["features"] = keras.layers.GlobalAveragePooling2D()(backbone.output)
    names["pixels"] = pixels = rng.uniform(0, 255, size=(64, SIZE, SIZE, 3)).astype(np.float32)
    kept = keras.Model(backbone.input, points).predict(pixels, verbose=0)
    names |= dict(backbone=backbone, pretrained=backbone.get_weights(), outputs=points)
    names |= dict(kept={"train": kept, "validation": kept}, labels=dict.fromkeys(data.SPLITS, np.arange(64) % 10))
    return run_cells("04", names, "def compiled(", "def new_head(", "def fit(model, point")


def test_lesson_04_shows_that_only_frozen_batch_norm_keeps_its_statistics(lesson_04):
    run_cells("04", lesson_04, "def moving_statistics_after_training", "moved = moving_statistics")
    assert len(lesson_04["moved"]) > 0


def test_fine_tuning_of_lesson_04_leaves_batch_norm_and_all_below_the_last_20_layers_alone(lesson_04):
    run_cells("04", lesson_04, "def fine_tuning_model(")
    model, _, start_again = lesson_04["fine_tuning_model"]("some")
    backbone, pretrained = lesson_04["backbone"], lesson_04["pretrained"]
    lesson_04["fit"](model, "some", epochs=1, seed=0)
    changed = {
        weight.path.split("/")[-2]
        for weight, before in zip(backbone.weights, pretrained, strict=True)
        if not np.array_equal(weight, before)
    }
    last_20 = {layer.name for layer in backbone.layers[-20:] if layer.weights}
    assert changed == {name for name in last_20 if not name.lower().endswith("_bn")}
    start_again()
    assert all(np.array_equal(w, before) for w, before in zip(backbone.weights, pretrained, strict=True))


def test_joined_model_of_lesson_04_says_what_its_parts_say_and_reloads(lesson_04, tmp_path):
    run_cells("04", lesson_04, "def fine_tuning_model(")
    model, head, _ = lesson_04["fine_tuning_model"]("some")
    lesson_04["fit"](model, "some", epochs=1, seed=0)
    whole = keras.Sequential([lesson_04["backbone"], keras.layers.GlobalAveragePooling2D(), head])
    pixels = lesson_04["pixels"]
    parts = model.predict(lesson_04["kept"]["train"]["some"], verbose=0)
    np.testing.assert_allclose(whole.predict(pixels, verbose=0), parts, atol=1e-5)  # the same float32 operations
    assert_reloads(whole, pixels[:4], tmp_path / "04.keras", rtol=1e-4, atol=1e-5)


def test_model_of_lesson_04_ends_in_float32_where_a_gpu_computes_in_float16(half_precision, lesson_04):
    run_cells("04", lesson_04, "def fine_tuning_model(")
    model, _, _ = lesson_04["fine_tuning_model"]("some")
    assert lesson_04["kept"]["train"]["some"].dtype == np.float16
    assert_ends_in_float32(model, lesson_04["kept"]["train"]["some"], lesson_04["labels"]["train"])


# Lesson 05


@pytest.fixture
def lesson_05(names):
    names["beans_settings"] = small(config.settings("05-beans", "full"))
    names["bean_backbone"] = models.backbone("ResNet50", SIZE)
    return run_cells("05", names, "def trainable_numbers(")


def test_both_orders_of_unfreezing_in_lesson_05_train_the_last_residual_block_of_resnet50(lesson_05):
    run_cells("05", lesson_05, "two_steps = ", "both orders must give the same")
    backbone = lesson_05["bean_backbone"]
    trained = {layer.name.rsplit("_", 2)[0] for layer in backbone.layers if layer.trainable_weights}
    assert trained == {"conv5_block3"}
    assert [layer.name for layer in backbone.layers if layer.trainable] == [x.name for x in backbone.layers[-10:]]


def test_beans_model_of_lesson_05_returns_logits_to_a_loss_that_expects_them_and_reloads(lesson_05, images, tmp_path):
    lesson_05["head"] = keras.Sequential([keras.Input((2048,)), keras.layers.Dense(3)])
    run_cells("05", lesson_05, "last_frozen = ", "beans_model = ")
    model = lesson_05["beans_model"]
    assert models.loss_fits_output(model)
    trained = {layer.name for layer in lesson_05["bean_backbone"].layers if layer.trainable_weights}
    assert trained == {"conv5_block3_1_conv", "conv5_block3_2_conv", "conv5_block3_3_conv"}
    assert_reloads(model, images, tmp_path / "05.keras", rtol=1e-3, atol=1e-3)  # logits of random weights are large


def test_model_of_lesson_05_ends_in_float32_where_a_gpu_computes_in_float16(half_precision, lesson_05, images):
    kept = {split: np.zeros((3, 2048), np.float16) for split in ("train", "validation")}
    three = data.Images(np.array(["a", "b", "c"]), np.arange(3), ("a", "b", "c"))
    run_cells("05", lesson_05, "def output_layer(")
    settings, adam = lesson_05["beans_settings"], keras.optimizers.Adam()
    head, _ = lesson_05["output_layer"](kept, data.Dataset(three, three, three), settings, adam)
    lesson_05["head"] = head
    run_cells("05", lesson_05, "last_frozen = ", "beans_model = ")
    assert_ends_in_float32(lesson_05["beans_model"], images, np.array([0, 1, 2, 0]))
