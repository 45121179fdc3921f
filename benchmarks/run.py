"""Time the course's way of doing things against the usual one, on the same images, and write down both.

python benchmarks/run.py [--repeats 5] [NAME...]

With ``COURSE_DATA`` the real photographs are used and results go to ``data/results/benchmarks.json``; without it the
embedded samples, and results go to the screen only. Each pair runs alternately in one process, and each ratio is that
of one pair. The usual way is written as older tutorials write it. Memory is measured in processes of their own.
"""

import argparse
import functools
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

from helpers import data, evaluation, features, models

RESULT = config.RESULTS / "benchmarks.json"
BATCH = 32
LOSS = "sparse_categorical_crossentropy"
PIXELS = 224  # height and width of frozen extraction and of reading
EPOCHS = (5, 10)
GROWTH = (500, 1000, 2000, 5000, 10000, 20000)


def main(arguments: list[str] | None = None) -> int:
    """Run the named benchmarks, or all, print a table and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of runs, 5 by default")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {unknown.pop()!r}: choose from {', '.join(BENCHMARKS)}")
    real = config.data_folder() is not None
    results = json.loads(RESULT.read_text(encoding="utf-8")) if real and RESULT.exists() else {}
    for name in options.names or BENCHMARKS:
        print(f"{name} …", flush=True)
        for row, result in BENCHMARKS[name](options.repeats).items():
            results[row] = result | config.measured_with()
            print(f"  {in_words(row, result)}", flush=True)
            if real:
                RESULT.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return 0


def in_words(row: str, result: dict) -> str:
    """One line of the table."""
    if "ratio" not in result:
        return f"{row}: {json.dumps(result)}"
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
    """A result from the values of as many pairs; a ratio above 1 means that ours is better."""
    ratios = [a / b for a, b in zip(usual, ours, strict=True)]
    if unit != "s":  # images a second: more is better
        ratios = [1 / ratio for ratio in ratios]
    return {"what": what, "unit": unit, "usual": spread(usual), "ours": spread(ours), "ratio": spread(ratios), **more}


def timed(function) -> tuple[float, object]:
    """Seconds that a call took, and what it returned."""
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


def images_of(lesson: str, per_class: dict | None = None) -> data.Dataset:
    """A lesson's images: real ones where there are any."""
    settings = config.settings(lesson, "full" if config.data_folder() else "sample")
    return data.find_images(data.folder_of(settings), per_class=per_class)


def copied(dataset: data.Dataset, folder: Path) -> Path:
    """Write a data set's splits as folders, which is what ``flow_from_directory`` reads."""
    for split in data.SPLITS:
        images = getattr(dataset, split)
        for number, (path, label) in enumerate(zip(images.paths, images.labels, strict=True)):
            target = folder / split / dataset.class_names[label] / f"{number:06d}{Path(path).suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return folder


def frozen(repeats: int) -> dict:
    """Feature extraction with validation, cats vs dogs, EfficientNet-Lite0, 5 and 10 epochs."""
    size, results = PIXELS, {}
    backbone = models.backbone("efficientnet-lite0", size)
    backbone.trainable = False
    extractor = keras.Sequential([backbone, keras.layers.GlobalAveragePooling2D()])
    with tempfile.TemporaryDirectory() as name:
        folder = copied(images_of("03"), Path(name, "images"))
        dataset = data.find_images(folder)
        test = data.pipeline(dataset.test, size)

        def new_head():
            output = keras.layers.Dense(len(dataset.class_names), activation="softmax")
            return keras.Sequential([keras.Input((extractor.output_shape[-1],)), output])

        def compiled(model):
            model.compile(keras.optimizers.Adam(2e-3), LOSS, metrics=["accuracy"])
            return model

        def usual():
            """Train; seconds and weights after each number of epochs that is asked for."""
            flow = {
                split: ImageDataGenerator().flow_from_directory(
                    folder / split, target_size=(size, size), batch_size=BATCH, class_mode="sparse"
                )
                for split in ("train", "validation")
            }
            model, reached, started = compiled(keras.Sequential([extractor, new_head()])), {}, time.perf_counter()

            def note(epoch, logs):
                if epoch + 1 in EPOCHS:
                    reached[epoch + 1] = time.perf_counter() - started, model.get_weights()

            noted = keras.callbacks.LambdaCallback(on_epoch_end=note)
            model.fit(
                flow["train"], validation_data=flow["validation"], epochs=max(EPOCHS), callbacks=[noted], verbose=0
            )
            return model, reached

        def ours(epochs):
            kept = {
                split: features.extract(extractor, getattr(dataset, split), folder=Path(name, "features"))
                for split in ("train", "validation")
            }
            head = compiled(new_head())
            validation = (kept["validation"], dataset.validation.labels)
            head.fit(kept["train"], dataset.train.labels, BATCH, epochs, validation_data=validation, verbose=0)
            return keras.Sequential([extractor, head])

        seconds = {epochs: {"usual": [], "first time": [], "again": []} for epochs in EPOCHS}
        for _ in range(repeats):
            keras.utils.set_random_seed(0)
            model, reached = usual()
            joined = {}
            for epochs in EPOCHS:
                seconds[epochs]["usual"].append(reached[epochs][0])
                shutil.rmtree(Path(name, "features"), ignore_errors=True)
                for when in ("first time", "again"):
                    keras.utils.set_random_seed(0)
                    taken, joined[epochs] = timed(functools.partial(ours, epochs))
                    seconds[epochs][when].append(taken)
        for epochs in EPOCHS:
            model.set_weights(reached[epochs][1])
            said = {"usual": model.predict(test, verbose=0), "ours": joined[epochs].predict(test, verbose=0)}
            what = f"{dataset_name('03')}, EfficientNet-Lite0, {size} px, {epochs} epochs, "
            what += f"{len(dataset.train)} training and {len(dataset.validation)} validation images"
            for when in ("first time", "again"):
                row = compared(seconds[epochs]["usual"], seconds[epochs][when], what)
                for way, probabilities in said.items():
                    row[way]["accuracy"] = str(evaluation.accuracy(dataset.test.labels, probabilities))
                results[f"frozen, {epochs} epochs, {when}"] = row
    return results


def dataset_name(lesson: str) -> str:
    """The data set's name, and what its images are."""
    real = config.data_folder() is not None
    return f"{config.settings(lesson, 'full').dataset} {'photographs' if real else 'sample drawings'}"


def fine_tuning(repeats: int) -> dict:
    """The last 20 layers of MobileNetV2, 5 epochs with validation, CIFAR-10 at 96 px, 2,000 images."""
    size, epochs, point = 96, 5, models.FREEZE_POINTS["MobileNetV2"]["some"]
    dataset = images_of("04", per_class=dict(train=200, validation=40, test=200))
    weights = "imagenet" if config.data_folder() else None
    backbone = models.backbone("MobileNetV2", size, weights)
    models.unfreeze_above(backbone, point)
    lower = keras.Model(backbone.input, backbone.get_layer(point).output)
    upper = keras.Model(lower.output, backbone.output)
    keras.utils.set_random_seed(0)
    head = keras.Sequential(
        [
            keras.Input(backbone.output.shape[1:]),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(len(dataset.class_names), activation="softmax"),
        ]
    )
    whole = keras.Sequential([backbone, head])
    part = keras.Sequential([keras.Input(lower.output.shape[1:]), upper, head])
    start = whole.get_weights()

    def fit(model, train, validation):
        model.compile(keras.optimizers.Adam(1e-4), LOSS, metrics=["accuracy"])
        model.fit(train, validation_data=validation, epochs=epochs, shuffle=False, verbose=0)

    def usual():
        fit(
            whole,
            data.pipeline(dataset.train, size, BATCH, shuffle_seed=1),
            data.pipeline(dataset.validation, size, BATCH),
        )

    def ours(folder):
        kept = {
            split: features.extract(lower, getattr(dataset, split), exact=True, folder=folder)
            for split in ("train", "validation")
        }
        fit(
            part,
            features.batches(kept["train"], dataset.train.labels, BATCH, shuffle_seed=1),
            features.batches(kept["validation"], dataset.validation.labels, BATCH),
        )

    seconds, apart = {"usual": [], "ours": []}, []
    with tempfile.TemporaryDirectory() as name:
        for repeat in range(repeats):
            trained = {}
            for way, run in (("usual", usual), ("ours", functools.partial(ours, Path(name, str(repeat))))):
                whole.set_weights(start)
                keras.utils.set_random_seed(0)
                taken, _ = timed(run)
                seconds[way].append(taken)
                trained[way] = whole.get_weights()
            apart.append(
                max(
                    float(np.linalg.norm(a - b) / max(np.linalg.norm(a), 1e-6))
                    for a, b in zip(trained["usual"], trained["ours"], strict=True)
                )
            )
    reached = {}
    for way, values in trained.items():
        whole.set_weights(values)
        said = whole.predict(data.pipeline(dataset.test, size), verbose=0)
        reached[way] = str(evaluation.accuracy(dataset.test.labels, said))
    what = f"{dataset_name('04')}, last 20 layers of MobileNetV2, {size} px, {epochs} epochs, "
    what += f"{len(dataset.train)} training and {len(dataset.validation)} validation images"
    row = compared(seconds["usual"], seconds["ours"], what, largest_relative_difference_of_weights=max(apart))
    for way, accuracy in reached.items():
        row[way]["accuracy"] = accuracy
    return {"fine-tuning": row}


def reading(repeats: int) -> dict:
    """Decode and resize: the first pass over the files, and five passes."""
    size, results = PIXELS, {}
    with tempfile.TemporaryDirectory() as name:
        folder = copied(images_of("03"), Path(name))
        images = data.find_images(folder).train
        speeds = {"usual": {1: [], 5: []}, "ours": {1: [], 5: []}}
        for _ in range(repeats):
            flow = ImageDataGenerator().flow_from_directory(
                folder / "train", target_size=(size, size), batch_size=BATCH, class_mode="sparse"
            )
            pipeline = data.pipeline(images, size, BATCH, shuffle_seed=0)
            passes = {
                "usual": lambda flow=flow: sum(len(flow[i][0]) for i in range(len(flow))),
                "ours": lambda pipeline=pipeline: sum(len(pixels) for pixels, _ in pipeline),
            }
            for way, one_pass in passes.items():
                seconds = [timed(one_pass)[0] for _ in range(5)]
                for n in (1, 5):
                    speeds[way][n].append(n * len(images) / sum(seconds[:n]))
        for n, row in {1: "reading, first pass", 5: "reading, five passes"}.items():
            what = f"{dataset_name('03')}, {len(images)} files, decoded and resized to {size} px"
            results[row] = compared(speeds["usual"][n], speeds["ours"][n], what, unit="images/s")
    return results


def growth(repeats: int) -> dict:
    """Time and peak memory of lesson 04's data against the number of images, each in a process of its own."""
    rows = {"usual": [], "ours": []}
    for n in GROWTH:
        for way in rows:
            runs = [in_process(way, n) for _ in range(repeats if n <= 5000 else 1)]
            rows[way].append({key: statistics.median(run[key] for run in runs) for key in ("seconds", "peak_mb")})
            print(f"    {n:6,} {way:6} {rows[way][-1]}", flush=True)
    result = {"what": f"{dataset_name('04')} at 160 px: one pass over all images", "images": list(GROWTH)}
    for way, points in rows.items():
        result[way] = {
            key: {
                "values": [point[key] for point in points],
                "exponent": exponent(GROWTH, [point[key] for point in points]),
            }
            for key in ("seconds", "peak_mb")
        }
    return {"growth": result}


def exponent(n: tuple, values: list[float]) -> float:
    """Of the power law through the points: the slope of a line through their logarithms."""
    return round(float(np.polyfit(np.log(n), np.log(values), 1)[0]), 2)


def in_process(way: str, n: int) -> dict:
    """Seconds of one pass, and peak memory of a new process that imports TensorFlow and makes it."""
    ended = subprocess.run([sys.executable, __file__, "--pass", way, str(n)], capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"{way}, {n} images: {ended.stderr[-400:]}")
    return json.loads(ended.stdout.splitlines()[-1])


def one_pass(way: str, n: int) -> None:
    """Load lesson 04's images the usual way (all at once, resized) or ours, and see each of them once."""
    if way not in ("usual", "ours"):
        raise ValueError(f"There is no way {way!r}: it is usual or ours.")
    size, found = 160, images_of("04").train
    images = found.select(np.resize(np.arange(len(found)), n))  # a set with fewer images is read again
    started = time.perf_counter()
    if way == "usual":
        pixels = np.stack([keras.utils.img_to_array(keras.utils.load_img(path)) for path in images.paths])
        batches = tf.data.Dataset.from_tensor_slices((tf.image.resize(pixels, (size, size)) / 255.0, images.labels))
        batches = batches.batch(BATCH)
    else:
        batches = data.pipeline(images, size, BATCH)
    seen = sum(len(labels) for _, labels in batches)
    assert seen == n, f"{seen} of {n} images were seen"
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": round(seconds, 2), "peak_mb": round(peak_memory() / 2**20)}))


def peak_memory() -> int:
    """Most bytes that this process has had in memory."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, whose getrusage may tell a parent's peak
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS tells bytes


BENCHMARKS = {"reading": reading, "frozen": frozen, "fine-tuning": fine_tuning, "growth": growth}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--pass"]:
        one_pass(sys.argv[2], int(sys.argv[3]))
    else:
        sys.exit(main())
