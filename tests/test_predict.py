"""The command that names photographs, with both formats that lesson 06 exports."""

import contextlib
import json
import sys
import types
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from helpers import predict

NAMES = ("blue", "green", "red")


def colours():
    """A model that names the strongest colour."""
    image = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    head = keras.layers.Dense(3, activation="softmax")
    model = keras.Model(image, head(x))
    head.set_weights([10 * np.eye(3)[::-1], np.zeros(3)])
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Both formats of one model."""
    folder, model = tmp_path_factory.mktemp("exported"), colours()
    model.save(folder / "model.keras")
    (folder / "model.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    for path in sorted(folder.iterdir()):
        predict.put_class_names(path, NAMES)
    return folder


@pytest.fixture
def photos(tmp_path):
    """A folder with a red photograph, and a green one below it."""
    (tmp_path / "photos" / "more").mkdir(parents=True)
    Image.new("RGB", (40, 30), (250, 20, 10)).save(tmp_path / "photos" / "a.jpg")
    Image.new("RGB", (16, 16), (10, 240, 10)).save(tmp_path / "photos" / "more" / "b.png")
    (tmp_path / "photos" / ".hidden").write_text("")
    return tmp_path / "photos"


@pytest.mark.parametrize("name", ["model.keras", "model.tflite"])
def test_both_formats_name_files_and_folders(name, exported, photos, capsys):
    assert predict.main([str(exported / name), str(photos)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{photos / 'a.jpg'}: red ")
    assert second.startswith(f"{photos / 'more' / 'b.png'}: green ")


@pytest.mark.parametrize("name", ["model.keras", "model.tflite"])
def test_both_formats_say_what_the_model_says(name, exported, rng):
    pixels = rng.integers(0, 256, (40, 16, 16, 3)).astype(np.float32)
    loaded = predict.load(exported / name)
    assert (loaded.class_names, loaded.image_size) == (NAMES, 16)
    np.testing.assert_allclose(loaded.probabilities(pixels), colours().predict(pixels, verbose=0), atol=1e-5)


def test_json_is_one_object_for_each_photograph_with_the_likeliest_first(exported, photos, capsys):
    assert predict.main(["--json", "--top", "2", str(exported / "model.tflite"), str(photos / "a.jpg")]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    answer = json.loads(line)
    assert answer["file"] == str(photos / "a.jpg")
    assert [each["class"] for each in answer["classes"]] == ["red", "green"]
    assert 0.99 < sum(each["probability"] for each in answer["classes"]) <= 1


def test_top_may_ask_for_more_classes_than_there_are(exported, photos, capsys):
    assert predict.main(["--top", "9", str(exported / "model.tflite"), str(photos / "a.jpg")]) == 0
    assert capsys.readouterr().out.count("%") == 3


def test_a_damaged_photograph_is_told_and_the_others_are_named(exported, photos, capsys):
    (photos / "notes.txt").write_text("no photograph")
    assert predict.main([str(exported / "model.tflite"), str(photos)]) == 1
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 2
    assert said.err == f"{photos / 'notes.txt'} is not a readable image: it is left out.\n"
    assert predict.main([str(exported / "model.tflite"), str(photos / "notes.txt")]) == 2


def test_each_error_is_one_sentence(exported, photos, tmp_path, capsys):
    def said(*arguments):
        assert predict.main([str(each) for each in arguments]) == 2
        (sentence,) = capsys.readouterr().err.splitlines()
        return sentence

    model = exported / "model.keras"
    assert said(model, photos / "gone.jpg").endswith("There is no file or folder " + str(photos / "gone.jpg") + ".")
    (photos / "empty").mkdir()
    assert said(model, photos / "empty").endswith("empty holds no file: name one with photographs.")
    assert said(tmp_path / "gone.keras", photos).endswith("gone.keras: lesson 06 exports one.")
    assert said(photos / "a.jpg", photos).endswith("a.jpg is no exported model: name a .keras or a .tflite file.")
    assert "--top 0: name 1 class or more." in said("--top", 0, model, photos)

    nameless = tmp_path / "nameless.tflite"
    nameless.write_bytes(b"no model")
    assert "nameless.tflite holds no class names: write them with" in said(nameless, photos)
    predict.put_class_names(nameless, NAMES)
    assert "nameless.tflite cannot be loaded (ValueError): export the model again." in said(nameless, photos)
    colours().save(tmp_path / "four.keras")
    predict.put_class_names(tmp_path / "four.keras", [*NAMES, "violet"])
    assert "four.keras has 3 classes and 4 names: write the names again." in said(tmp_path / "four.keras", photos)


def test_names_of_any_letters_travel_with_the_model(tmp_path, photos):
    colours().save(tmp_path / "model.keras")
    predict.put_class_names(tmp_path / "model.keras", ["青", "vert d'eau", "rød"])
    assert predict.load(tmp_path / "model.keras").class_names == ("青", "vert d'eau", "rød")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert archive.testzip() is None
    assert keras.saving.load_model(tmp_path / "model.keras").output_shape == (None, 3)


def test_it_runs_as_a_command_without_a_word_of_tensorflow(exported, photos, run_python):
    code = "import runpy, sys; sys.argv[0] = 'predict'; runpy.run_module('helpers.predict', run_name='__main__')"
    program = f"try:\n    exec({code!r})\nexcept SystemExit as end:\n    assert end.code == 0, end.code"
    printed = run_python(program, exported / "model.tflite", photos / "a.jpg")
    assert printed.startswith(f"{photos / 'a.jpg'}: red ")
    assert len(printed.splitlines()) == 1


# Uploads


def test_without_a_button_it_says_how_to_go_on(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert predict.upload(print) is None
    assert "set PICTURE to the path of a file" in capsys.readouterr().out


def test_colab_shows_its_own_button(monkeypatch):
    files = types.SimpleNamespace(upload=lambda: {"mine.jpg": b"..."})
    monkeypatch.setitem(sys.modules, "google.colab", types.SimpleNamespace(files=files))
    named = []
    assert predict.upload(named.append) is None
    assert named == ["mine.jpg"]


def test_jupyterlab_names_the_picture_that_was_chosen(monkeypatch, photos):
    class Button:
        def __init__(self, accept):
            self.accept = accept

        def observe(self, function, name):
            self.chosen = function

    widgets = types.SimpleNamespace(FileUpload=Button, Output=contextlib.nullcontext, VBox=lambda parts: parts)
    monkeypatch.setitem(sys.modules, "ipywidgets", widgets)
    seen = []
    button, _ = predict.upload(lambda path: seen.append(Path(path).read_bytes()))
    button.chosen({"new": ({"name": "a.jpg", "content": (photos / "a.jpg").read_bytes()},)})
    assert seen == [(photos / "a.jpg").read_bytes()]
