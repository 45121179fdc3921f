"""Time the course's way of doing things against the usual one, on the same images, and write down both.

python benchmarks/run.py [--repeats 5] [NAME...]

With ``COURSE_DATA`` the real photographs are used and each result is added to the earlier ones in
``data/results/benchmarks.json``; without it the embedded samples, and results go to the screen only. Each pair runs
alternately on one machine, and each ratio is that of one pair. The usual way is written as older tutorials write it.
"""

import argparse
import datetime
import itertools
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers import config, session

session.quiet_tensorflow()

import keras
import numpy as np
import tensorflow as tf
from tensorflow.keras.preprocessing.image import ImageDataGenerator

from helpers import data, evaluation, features, lessons, models

RESULT = config.RESULTS / "benchmarks.json"
BATCH, EPOCHS = 32, 5
PIXELS = {"03": 224, "04": 96}  # lesson whose images are used -> their height and width
LOADED = (500, 2000, 8000)  # images of which memory is measured


def main(arguments: list[str] | None = None) -> int:
    """Run the named benchmarks, or all, print their results, and write them down if they are of real photographs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of runs, 5 by default")
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error(f"--repeats is {options.repeats}: give 1 or more")
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {unknown.pop()!r}: choose from {', '.join(BENCHMARKS)}")
    results = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    today = {"date": datetime.date.today().isoformat(), **config.measured_with()}
    for name in options.names or BENCHMARKS:
        print(f"{name} …", flush=True)
        for row, result in BENCHMARKS[name](options.repeats).items():
            results.setdefault(row, []).append(result | today)
            print(f"  {in_words(row, result)}", flush=True)
        if config.data_folder() is not None:  # after each, so that a later failure loses nothing
            RESULT.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return 0


def in_words(row: str, result: dict) -> str:
    """One line on the screen."""
    ratio = result["ratio"]
    line = f"{row}: {ratio['median']:.1f} times ({ratio['min']:.1f} to {ratio['max']:.1f})"
    for way in ("usual", "ours"):
        line += f"; {way} {result[way]['median']:.2f} {result['unit']}"
        line += f", test accuracy {result[way]['accuracy']}" if "accuracy" in result[way] else ""
    return line


def spread(values: list[float]) -> dict:
    """Median, least, greatest, and all values."""
    values = [float(f"{value:.4g}") for value in values]
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "all": values}


def compared(usual: list[float], ours: list[float], what: str, unit: str = "s", **more) -> dict:
    """A result from the values of as many pairs; a ratio above 1 means that ours needs less."""
    ratio = spread([a / b for a, b in zip(usual, ours, strict=True)])
    return {"what": what, "unit": unit, "usual": spread(usual), "ours": spread(ours), "ratio": ratio, **more}


def in_turn(repeats: int, **ways) -> tuple[dict[str, list[float]], dict]:
    """Call each way once, then each again, as often as asked: the seconds of each, and what each returned last."""
    seconds, returned = {way: [] for way in ways}, {}
    for _ in range(repeats):
        for way, function in ways.items():
            keras.utils.set_random_seed(0)
            started = time.perf_counter()
            returned[way] = function()
            seconds[way].append(time.perf_counter() - started)
    return seconds, returned


def images_of(lesson: str) -> data.Dataset:
    """A lesson's images: real ones where there are any."""
    return data.load(lessons.settings(lesson, "full" if config.data_folder() else "sample"))


def described(lesson: str, dataset: data.Dataset) -> str:
    """What a benchmark ran on."""
    name = lessons.settings(lesson, "full").dataset if config.data_folder() else "the embedded sample"
    counts = f"{len(dataset.train)} training and {len(dataset.validation)} validation images"
    return f"{name}, {counts} of {PIXELS[lesson]} pixels"


def copied(dataset: data.Dataset, folder: Path) -> data.Dataset:
    """Write a data set's splits as folders, which is what ``flow_from_directory`` reads."""
    for split in data.SPLITS:
        images = getattr(dataset, split)
        for number, (path, label) in enumerate(zip(images.paths, images.labels, strict=True)):
            target = folder / split / dataset.class_names[label] / f"{number:06d}{Path(path).suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return data.find_images(folder)


def flow(folder: Path):
    """Batches of the images below a folder, as older tutorials read them."""
    size = (PIXELS["03"], PIXELS["03"])
    return ImageDataGenerator().flow_from_directory(folder, target_size=size, batch_size=BATCH, class_mode="sparse")


def fit(model: keras.Model, rate: float, *train, **options) -> keras.Model:
    """Compile and train."""
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*train, epochs=EPOCHS, verbose=0, **options)
    return model


def reading(repeats: int) -> dict:
    """Decode and resize: the first pass over the files, and five passes."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = copied(images_of("03"), Path(folder))

        def usual():
            batches = flow(Path(folder, "train"))
            return sum(len(batches[i][0]) for _ in range(passes) for i in range(len(batches)))

        def ours():
            pipeline = data.pipeline(dataset.train, PIXELS["03"], BATCH, shuffle_seed=0)
            return sum(len(pixels) for _ in range(passes) for pixels, _ in pipeline)

        results = {}
        for passes, row in ((1, "reading, first pass"), (5, "reading, five passes")):
            seconds, seen = in_turn(repeats, usual=usual, ours=ours)
            assert set(seen.values()) == {passes * len(dataset.train)}, seen
            results[row] = compared(**seconds, what=described("03", dataset))
    return results


def frozen(repeats: int) -> dict:
    """Train a classifier on a frozen EfficientNet-Lite0: the network runs in each epoch, or once."""
    backbone, number = models.backbone("efficientnet-lite0", PIXELS["03"]), itertools.count()
    backbone.trainable = False
    extractor = keras.Sequential([backbone, keras.layers.GlobalAveragePooling2D()])
    with tempfile.TemporaryDirectory() as name:
        dataset = copied(images_of("03"), Path(name, "images"))

        def head():
            layer = keras.layers.Dense(len(dataset.class_names), activation="softmax")
            return keras.Sequential([keras.Input(extractor.output_shape[1:]), layer])

        def usual():
            train, validation = (flow(Path(name, "images", split)) for split in ("train", "validation"))
            return fit(keras.Sequential([extractor, head()]), 2e-3, train, validation_data=validation)

        def ours(folder):
            train, validation = (
                (features.extract(extractor, images, folder=folder), images.labels)
                for images in (dataset.train, dataset.validation)
            )
            trained = fit(head(), 2e-3, *train, validation_data=validation, batch_size=BATCH)
            return keras.Sequential([extractor, trained])

        seconds, trained = in_turn(
            repeats, usual=usual, first=lambda: ours(Path(name, str(next(number)))), again=lambda: ours(Path(name, "0"))
        )
        test, what = data.pipeline(dataset.test, PIXELS["03"]), f"EfficientNet-Lite0, {EPOCHS} epochs, "
        reached = {w: evaluation.accuracy(dataset.test.labels, m.predict(test, verbose=0)) for w, m in trained.items()}
        rows = {}
        for way, row in (("first", "frozen, first time"), ("again", "frozen, again")):
            rows[row] = compared(seconds["usual"], seconds[way], what + described("03", dataset))
            rows[row]["usual"]["accuracy"], rows[row]["ours"]["accuracy"] = str(reached["usual"]), str(reached[way])
    return rows


def fine_tuning(repeats: int) -> dict:
    """Fine-tune the last stage of MobileNetV2: from the images in each epoch, or from activations that are kept."""
    size, point, number = PIXELS["04"], lessons.FREEZE_POINTS["MobileNetV2"]["some"], itertools.count()
    dataset = images_of("04")
    backbone = models.backbone("MobileNetV2", size, "imagenet" if config.data_folder() else None)
    models.unfreeze_above(backbone, point)
    lower = keras.Model(backbone.input, backbone.get_layer(point).output)
    dense = keras.layers.Dense(len(dataset.class_names), activation="softmax")
    whole = keras.Sequential([backbone, keras.layers.GlobalAveragePooling2D(), dense])
    upper = keras.Sequential([keras.Model(lower.output, backbone.output), *whole.layers[1:]])  # the same layers
    start = whole.get_weights()

    def usual():
        whole.set_weights(start)
        train = data.pipeline(dataset.train, size, BATCH, shuffle_seed=1)
        fit(whole, 1e-4, train, validation_data=data.pipeline(dataset.validation, size, BATCH))
        return whole.get_weights()

    def ours():
        whole.set_weights(start)
        folder = Path(name, str(next(number)))
        train, validation = (
            (features.extract(lower, images, folder=folder), images.labels)
            for images in (dataset.train, dataset.validation)
        )
        fit(upper, 1e-4, *train, validation_data=validation, batch_size=BATCH)
        return whole.get_weights()

    with tempfile.TemporaryDirectory() as name:
        seconds, trained = in_turn(repeats, usual=usual, ours=ours)
    what = f"last stage of MobileNetV2, {EPOCHS} epochs, {described('04', dataset)}"
    row = compared(**seconds, what=what)
    for way, weights in trained.items():
        whole.set_weights(weights)
        probabilities = whole.predict(data.pipeline(dataset.test, size), verbose=0)
        row[way]["accuracy"] = str(evaluation.accuracy(dataset.test.labels, probabilities))
    return {"fine-tuning": row}


def memory(repeats: int) -> dict:
    """Peak memory of one pass over lesson 04's images, in processes of their own that import TensorFlow."""
    rows = {}
    for n in LOADED:
        peaks = {"usual": [], "ours": []}
        for _, way in itertools.product(range(repeats), peaks):
            ended = subprocess.run([sys.executable, __file__, "--pass", way, str(n)], capture_output=True, text=True)
            if ended.returncode:
                raise RuntimeError(f"{way}, {n} images: {ended.stderr[-400:]}")
            peaks[way].append(float(ended.stdout.splitlines()[-1]))
        rows[f"memory, {n} images"] = compared(**peaks, what=f"one pass, {PIXELS['04']} pixels", unit="MB")
    return rows


def one_pass(way: str, n: int) -> float:
    """See ``n`` images once, loaded all at once and resized, or batch by batch; peak memory in MB, told by Linux."""
    size, found = PIXELS["04"], images_of("04").train
    images = found.select(np.resize(np.arange(len(found)), n))  # a set with fewer images is read again
    if way == "usual":
        pixels = np.stack([keras.utils.img_to_array(keras.utils.load_img(path)) for path in images.paths])
        batches = tf.data.Dataset.from_tensor_slices((tf.image.resize(pixels, (size, size)) / 255.0, images.labels))
        batches = batches.batch(BATCH)
    else:
        batches = data.pipeline(images, size, BATCH)
    seen = sum(len(labels) for _, labels in batches)
    assert seen == n, f"{seen} of {n} images were seen"
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


BENCHMARKS = {"reading": reading, "frozen": frozen, "fine-tuning": fine_tuning, "memory": memory}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--pass"]:
        print(one_pass(sys.argv[2], int(sys.argv[3])))
    else:
        sys.exit(main())
