"""Estimate the full run of each lesson on Colab with a T4, until it is measured: data/results/t4_estimate.json.

python tools/estimate_t4.py

For each lesson the operations of its networks are counted, for each image that goes forward through one or is trained
on. They are divided by a rate, and reading the images, downloading and starting are added. The rates are cautious:

- NVIDIA measured 415 images a second in float32 and 972 in mixed precision for ResNet-50 forward on a T4, 32 at a time
  (DeepLearningExamples, TensorFlow/Classification/ConvNets/resnet50v1.5). A third of that is assumed, and for networks
  of depthwise convolutions, which wait for memory, a tenth.
- Reading: half of the images a second that two processors reached in data/results/benchmarks.json: for photographs in
  "reading, first pass", for the small pictures of CIFAR-10 and Fruits-360 in "growth".
- Downloads at 20 MB a second, unpacking 1,000 files a second; a minute and a half to import, build and trace.
"""

import json
import sys

from helpers import config, session

session.quiet_tensorflow()

import keras

from helpers import downloads, models

RESULT = config.RESULTS / "t4_estimate.json"
RESNET50_OPERATIONS = 8.2e9  # of one image of 224 × 224, forward
IMAGES_A_SECOND = {"float32": 415, "mixed": 972}
DENSE, DEPTHWISE = 1 / 3, 1 / 10
DOWNLOAD_BYTES_A_SECOND, UNPACKED_A_SECOND, STARTING_SECONDS = 20e6, 1000, 90
UNKNOWN_BYTES = {"cifar10": 170_498_071, "fruits360": 1_500_000_000}  # Keras's archive; a guess for GitHub's
COUNTS = {  # training, validation, test images of the full run
    "food10": (600, 150, 2500),
    "cats_vs_dogs": (1600, 400, 1000),
    "cifar10": (5000, 1000, 2000),
    "beans": (1034, 133, 128),
    "fruits360": (22_000, 5_500, 11_000),  # 220 classes
}
SMALL = ("cifar10", "fruits360")
FILES = {
    "cats_vs_dogs": 25_000,
    "cifar10": 60_000,
    "fruits360": 130_000,
}  # of the archive, each decoded once; in others all


def operations(network: keras.Model) -> dict[str, float]:
    """Name of each layer to its multiplications and additions for one image."""
    counted = {}
    for layer in network.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            per_place = layer.kernel.shape[0] * layer.kernel.shape[1] * layer.kernel.shape[2]
        elif isinstance(layer, keras.layers.Conv2D):
            per_place = layer.kernel.shape[0] * layer.kernel.shape[1] * layer.kernel.shape[2] * layer.kernel.shape[3]
        else:
            continue
        _, height, width, _ = layer.output.shape
        counted[layer.name] = 2.0 * height * width * per_place
    return counted


class Work:
    """The seconds of one network at one image size."""

    def __init__(self, name: str, image_size: int, precision: str):
        network = models.backbone(name, image_size, weights=None)
        self.layers = [layer.name for layer in network.layers]
        self.counted = operations(network)
        self.point = models.FREEZE_POINTS[name]
        share = DENSE if name in ("VGG16", "ResNet50", "ResNet50V2") else DEPTHWISE
        self.rate = share * IMAGES_A_SECOND[precision] * RESNET50_OPERATIONS

    def forward(self, images: int, above: str | None = None) -> float:
        """Seconds for images to go through the network, or through its layers above a freeze point."""
        first = self.layers.index(self.point[above]) + 1 if above else 0
        return images * sum(self.counted.get(name, 0) for name in self.layers[first:]) / self.rate

    def trained(self, images: int, above: str | None = None) -> float:
        """Seconds for a training step on that many images: forward, and twice as much for the gradients."""
        return 3 * self.forward(images, above)


def computing(lesson: str, settings: config.Settings) -> tuple[float, int]:
    """Seconds on the GPU, and images read, in the full run of a lesson."""
    train, validation, test = COUNTS[settings.dataset]
    work = Work(settings.backbone, settings.image_size, "float32" if lesson in ("01", "02") else "mixed")
    seeds, epochs, tuning = len(settings.seeds), settings.epochs, settings.fine_tuning_epochs or 0
    if lesson == "01":
        few = seeds * 10 * (15 * 32 + 15 * 32 + 15 * 32 + 4 * 400) / 10  # images in the steps of its four sizes
        seconds = work.forward(train + test) + work.trained(int(few), "few") + work.forward(4 * seeds * test, "few")
        return seconds, 3 * (train + test)
    if lesson == "02":
        names = {"ResNet-50": "ResNet50", "ResNet-50 V2": "ResNet50V2", "EfficientNet-B0": "EfficientNetB0"}
        each = epochs * (train + validation) + 2 * validation + test
        seconds = sum(Work(names[name], settings.image_size, "float32").forward(each) for name in settings.hub_models)
        return seconds + work.forward(each), 6 * each
    if lesson == "03":
        kept = 3 * (train + validation)  # two preprocessings, and the part below the last freeze point
        frozen = seeds * epochs * (train + validation)
        tuned = seeds * tuning * (train + validation) + 2 * seeds * test
        seconds = work.forward(kept + frozen + tuned) + work.trained(seeds * tuning * train, "some")
        return seconds + work.trained(9 * train, "few"), kept + frozen + tuned
    if lesson == "04":
        kept = train * settings.views + validation
        steps = seeds * train
        seconds = work.forward(kept + 3 * seeds * test) + work.trained(steps * tuning, "some")
        seconds += work.trained(steps * settings.deeper_epochs, "many") + work.trained(18 * 200, "many")
        return seconds + 9 * work.forward(validation, "many"), kept + 3 * seeds * test
    if lesson == "05-fruits":
        tuned = tuning * (train + validation) + 3 * test
        seconds = work.forward(2 * (train + validation) + tuning * validation + 3 * test)
        return seconds + work.trained(tuning * train), 2 * (train + validation) + tuned
    kept, tuned = 4 * train + validation, tuning * (train + validation) + 2 * test
    return work.forward(kept + tuned) + work.trained(tuning * train, "few"), kept + tuned


def estimate() -> dict[str, dict[str, int]]:
    """Lesson to its estimated seconds, by what takes them; a lesson of several data sets is the sum of them."""
    measured = json.loads((config.RESULTS / "benchmarks.json").read_text(encoding="utf-8"))
    photographs = measured["reading, first pass"]["ours"]["median"] / 2
    small = measured["growth"]["images"][-1] / measured["growth"]["ours"]["seconds"]["values"][-1] / 2
    lessons = {}
    for name in config.LESSONS:
        settings = config.settings(name, "full")
        seconds, images_read = computing(name, settings)
        archives = downloads.describe(settings.dataset).get("archives", [])
        size = sum(archive.get("bytes", 0) for archive in archives) or UNKNOWN_BYTES[settings.dataset]
        checked = FILES.get(settings.dataset, sum(COUNTS[settings.dataset]))
        parts = {
            "computing": seconds,
            "reading": (images_read + checked) / (small if settings.dataset in SMALL else photographs),
            "downloading": size / DOWNLOAD_BYTES_A_SECOND + checked / UNPACKED_A_SECOND,
        }
        total = lessons.setdefault(name[:2], {"starting": STARTING_SECONDS})
        for part, value in parts.items():
            total[part] = total.get(part, 0) + round(value)
    return {name: {**parts, "seconds": sum(parts.values())} for name, parts in lessons.items()}


def main() -> int:
    """Estimate, print and write."""
    lessons = estimate()
    for name, parts in lessons.items():
        print(f"lesson {name}: {parts['seconds'] / 60:.0f} minutes, {parts}")
    RESULT.write_text(json.dumps(lessons, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
