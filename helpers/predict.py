"""Use a model that lesson 06 exported: python -m helpers.predict MODEL IMAGE... names photographs.

MODEL is a .keras or a .tflite file with its class names inside; IMAGE is a file, or a folder, which is searched.
Introduced in lesson 06.
"""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from helpers import session

_NAMES = "class_names.json"  # the entry of the file that holds the names
_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Classifier:
    """An exported model, whatever its format.

    Attributes:
        class_names: Names of the classes, in the order of the probabilities.
        image_size: Height and width in pixels of the images that it takes.
        probabilities: From raw RGB, ``(n, image_size, image_size, 3)`` float32, to ``(n, classes)``.
    """

    class_names: tuple[str, ...]
    image_size: int
    probabilities: Callable[[np.ndarray], np.ndarray]

    def top(self, pixels: np.ndarray, k: int = 1) -> list[list[tuple[str, float]]]:
        """The ``k`` likeliest classes of each image with their probabilities, likeliest first."""
        answers = self.probabilities(np.asarray(pixels, np.float32))
        order = np.argsort(-answers, axis=1, kind="stable")[:, :k]
        return [[(self.class_names[c], float(row[c])) for c in best] for row, best in zip(answers, order, strict=True)]


def put_class_names(path: str | Path, class_names: Iterable[str]) -> None:
    """Write class names into an exported model's file.

    A ``.keras`` file is a zip archive. A ``.tflite`` file stays a model with an archive behind it: LiteRT's metadata
    hold files in the same way. So the names cannot be lost on the way.

    Args:
        path: A ``.keras`` or ``.tflite`` file.
        class_names: In the order of the model's probabilities.
    """
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_NAMES, json.dumps(list(class_names)))


def load(path: str | Path) -> Classifier:
    """Load an exported model.

    Args:
        path: A ``.keras`` or ``.tflite`` file into which ``put_class_names`` wrote.

    Raises:
        ValueError: if there is no such file, it is no model, it holds no class names, or not as many as classes.
    """
    path = Path(path)
    if path.suffix not in (".keras", ".tflite"):
        raise ValueError(f"{path} is no exported model: name a .keras or a .tflite file.")
    if not path.is_file():
        raise ValueError(f"There is no file {path}: lesson 06 exports one.")
    try:
        with zipfile.ZipFile(path) as archive:
            class_names = tuple(json.loads(archive.read(_NAMES)))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ValueError(f"{path} holds no class names: write them with helpers.predict.put_class_names.") from error
    try:
        size, n_classes, run = (_of_keras if path.suffix == ".keras" else _of_tflite)(path)
    except Exception as error:  # Keras, h5py and TensorFlow each raise their own
        raise ValueError(f"{path} cannot be loaded ({type(error).__name__}): export the model again.") from error
    if n_classes != len(class_names):
        raise ValueError(f"{path} has {n_classes} classes and {len(class_names)} names: write the names again.")
    return Classifier(class_names, size, run)


def images_in(places: Iterable[str | Path]) -> list[Path]:
    """Files as they are given, and all files in folders and below, but hidden ones.

    Raises:
        ValueError: if a place does not exist, or a folder holds no file.
    """
    found = []
    for place in map(Path, places):
        if place.is_dir():
            inside = sorted(path for path in place.rglob("[!.]*") if path.is_file())
            if not inside:
                raise ValueError(f"The folder {place} holds no file: name one with photographs.")
            found += inside
        elif place.is_file():
            found.append(place)
        else:
            raise ValueError(f"There is no file or folder {place}.")
    return found


def upload(name_picture: Callable[[str], None]) -> object | None:
    """Let the reader choose a picture on Colab or in JupyterLab.

    Args:
        name_picture: Called with the path of each file that was chosen.

    Returns:
        The button that a notebook shows; None on Colab, which shows its own, and where there is none.
    """
    if "google.colab" in sys.modules:
        from google.colab import files

        for name in files.upload():
            name_picture(name)
        return None
    try:
        import ipywidgets
    except ModuleNotFoundError:
        print("There is no upload button here (pip install ipywidgets brings one): set PICTURE to the path of a file.")
        return None
    button, shown = ipywidgets.FileUpload(accept="image/*"), ipywidgets.Output()

    def chosen(change):
        (picture,) = change["new"]
        with shown, tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "picture")
            path.write_bytes(picture["content"])
            name_picture(str(path))

    button.observe(chosen, "value")
    return ipywidgets.VBox([button, shown])


def main(arguments: list[str] | None = None) -> int:
    """Name the photographs of a command line; exit status 2 if nothing could be done, 1 if files were left out."""
    parser = argparse.ArgumentParser(prog="python -m helpers.predict", description="Name photographs.")
    parser.add_argument("model", help="a .keras or .tflite file that lesson 06 exported")
    parser.add_argument("images", nargs="+", help="photographs, or folders of them")
    parser.add_argument("--top", type=int, default=1, metavar="K", help="number of classes to name (1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each photograph")
    chosen = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    session.quiet_tensorflow()
    from helpers import data

    try:
        if chosen.top < 1:
            raise ValueError(f"--top {chosen.top}: name 1 class or more.")
        files = images_in(chosen.images)
        classifier = load(chosen.model)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    named = 0
    for start in range(0, len(files), _BATCH):
        pixels, readable = [], []
        for file in files[start : start + _BATCH]:
            try:
                pixels.append(data.read_file(file, classifier.image_size))
                readable.append(file)
            except Exception:  # Pillow's decoders raise nearly every kind of error on damaged files
                print(f"{_shown(file)} is not a readable image: it is left out.", file=sys.stderr)
        for file, best in zip(readable, classifier.top(np.array(pixels), chosen.top) if pixels else [], strict=True):
            print(_line(_shown(file), best, chosen.json))
        named += len(readable)
    return 0 if named == len(files) else 1 if named else 2


def _line(file: str, best: list[tuple[str, float]], as_json: bool) -> str:
    if as_json:
        classes = [{"class": name, "probability": round(probability, 4)} for name, probability in best]
        return json.dumps({"file": file, "classes": classes})
    return f"{file}: " + ", ".join(f"{name} {probability:.1%}" for name, probability in best)


def _shown(file: Path) -> str:
    return str(file).encode(errors="backslashreplace").decode()


def _of_keras(path: Path) -> tuple[int, int, Callable]:
    import keras

    model = keras.saving.load_model(path, compile=False)
    size, n_classes = model.input_shape[1], model.output_shape[-1]
    return size, n_classes, lambda pixels: model.predict(pixels, batch_size=_BATCH, verbose=0)


def _of_tflite(path: Path) -> tuple[int, int, Callable]:
    with session.without_log():  # LiteRT tells of its delegate
        interpreter = _interpreter()(model_path=str(path))
        interpreter.allocate_tensors()
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(pixels):
        answers = np.empty((len(pixels), answer["shape"][-1]), np.float32)
        for i, picture in enumerate(pixels):
            interpreter.set_tensor(given["index"], picture[np.newaxis])
            interpreter.invoke()
            answers[i] = interpreter.get_tensor(answer["index"])[0]
        return answers

    return int(given["shape"][1]), int(answer["shape"][-1]), run


def _interpreter() -> type:
    """LiteRT's interpreter: from its own package where that is installed, else TensorFlow's."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        import tensorflow as tf

        warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated", category=UserWarning)
        return tf.lite.Interpreter
    return Interpreter


if __name__ == "__main__":
    sys.exit(main())
