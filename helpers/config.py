"""Which run this is, each lesson's numbers, and the project's folders.

Five environment variables choose:

- ``COURSE_RUN``: ``sample`` (small images, any CPU, no network) or ``full`` (the real data set);
  without it, ``full`` where TensorFlow sees a GPU, else ``sample``.
- ``COURSE_DATA``: a folder that already holds the real data sets; nothing is downloaded then.
- ``COURSE_BACKBONE``: a backbone to use in place of the lesson's own.
- ``COURSE_LIMIT``: at most so many images of a class in each split, to make a run shorter.
- ``COURSE_KEEP``: a folder that outlives this machine, such as one on Google Drive: features are copied there and
  back, trained models are copied there.

TensorFlow is imported only where a GPU has to be looked for.
"""

import copy
import dataclasses
import os
import platform
from importlib import metadata
from pathlib import Path

RUNS = ("sample", "full")
BACKBONES = ("efficientnet-lite0", "MobileNetV2", "VGG16", "ResNet50", "ResNet50V2", "EfficientNetB0")


def _project_root() -> Path:
    """The folder that holds ``data/datasets.toml``: above this package, or above the notebook that runs."""
    candidates = [Path(__file__).resolve().parents[1], Path.cwd(), *Path.cwd().parents]
    return next((c for c in candidates if (c / "data" / "datasets.toml").is_file()), candidates[0])


ROOT = _project_root()
SAMPLES = ROOT / "data" / "samples"
DOWNLOADS = ROOT / "data" / "downloads"
RESULTS = ROOT / "data" / "results"
BUILD = ROOT / "build"  # everything that can be made again
CACHE = BUILD / "cache"
LOGS = BUILD / "logs"


@dataclasses.dataclass(frozen=True)
class Settings:
    """One lesson's numbers in one run.

    Attributes:
        lesson: Number of the lesson, such as ``"02"``.
        run: ``"sample"`` or ``"full"``.
        dataset: Name of the data set, as in ``data/datasets.toml``.
        backbone: Name of the pretrained network, one of ``BACKBONES``.
        image_size: Height and width in pixels of the images that the backbone sees.
        batch_size: Images in a training step.
        epochs: Passes through the training images.
        learning_rate: Of the head.
        fine_tuning_epochs: Passes through the training images after unfreezing (lessons 03 to 05).
        fine_tuning_rate: Learning rate of fine-tuning (lessons 03 to 05): in the full run at most a tenth of it.
        deeper_epochs: Further ones, after unfreezing ``"many"`` layers (lesson 04).
        views: Augmented versions of each training image whose activations are kept (lesson 04).
        unfrozen: How many layers are fine-tuned, ``"few"``, ``"some"`` or ``"many"`` (``models.FREEZE_POINTS``).
        seeds: One training for each, where a lesson repeats its experiment.
        hub_models: Name to TensorFlow Hub handle (lesson 02, full run).
        per_class: Split to the most images of a class that are used of it; a split that is not named is used whole.
    """

    lesson: str
    run: str
    dataset: str
    backbone: str
    image_size: int
    batch_size: int = 32
    epochs: int = 5
    learning_rate: float = 3e-3
    fine_tuning_epochs: int | None = None
    fine_tuning_rate: float | None = None
    deeper_epochs: int | None = None
    views: int | None = None
    unfrozen: str | None = None
    seeds: tuple[int, ...] = (0,)
    hub_models: dict[str, str] = dataclasses.field(default_factory=dict)
    per_class: dict[str, int] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        shown = {name: value for name, value in vars(self).items() if value not in ({}, None)}
        width = max(13, *map(len, shown))
        return "\n".join(f"{name:{width}} {value}" for name, value in shown.items())


_HUB_MODELS = {
    "ResNet-50": "https://www.kaggle.com/models/tensorflow/resnet-50/TensorFlow2/feature-vector/1",
    "ResNet-50 V2": "https://www.kaggle.com/models/google/resnet-v2/frameworks/TensorFlow2/variations/50-feature-vector/versions/2",
    "EfficientNet-B0": "https://www.kaggle.com/models/tensorflow/efficientnet/TensorFlow2/b0-feature-vector/1",
}
_LESSONS = {
    "01": {
        "sample": dict(dataset="food10", backbone="efficientnet-lite0", image_size=128, seeds=(0, 1, 2)),
        "full": dict(dataset="food10", backbone="EfficientNetB0", image_size=224, seeds=(0, 1, 2)),
    },
    "02": {
        "sample": dict(dataset="food10", backbone="efficientnet-lite0", image_size=160),
        "full": dict(dataset="food10", backbone="EfficientNetB0", image_size=224, hub_models=_HUB_MODELS),
    },
    # Embedded sets have few images, so few steps: their fine-tuning takes larger ones.
    "03": {
        "sample": dict(
            dataset="cats_vs_dogs", backbone="efficientnet-lite0", image_size=112, epochs=4,
            fine_tuning_epochs=4, fine_tuning_rate=1e-4, unfrozen="some", seeds=(0, 1),
        ),
        "full": dict(
            dataset="cats_vs_dogs", backbone="VGG16", image_size=192, epochs=8, learning_rate=2e-3,
            fine_tuning_epochs=5, fine_tuning_rate=1e-5, unfrozen="some", seeds=(0, 1),
            per_class=dict(train=800, validation=200, test=500),
        ),
    },
    "04": {
        "sample": dict(
            dataset="cifar10", backbone="efficientnet-lite0", image_size=96, epochs=5, learning_rate=2e-3,
            fine_tuning_epochs=1, fine_tuning_rate=4e-4, unfrozen="some", deeper_epochs=3, views=2, seeds=(0, 1),
        ),
        "full": dict(
            dataset="cifar10", backbone="MobileNetV2", image_size=160, epochs=5, learning_rate=1.5e-3,
            fine_tuning_epochs=2, fine_tuning_rate=1.5e-4, unfrozen="some", deeper_epochs=8, views=4, seeds=(0, 1),
            per_class=dict(train=500, validation=100, test=200),
        ),
    },
    "05-fruits": {
        "sample": dict(
            dataset="fruits360", backbone="efficientnet-lite0", image_size=100, epochs=4, learning_rate=1e-2,
            fine_tuning_epochs=2, fine_tuning_rate=5e-3,
        ),
        "full": dict(
            dataset="fruits360", backbone="ResNet50", image_size=100, batch_size=256, epochs=3, learning_rate=1e-2,
            fine_tuning_epochs=5, fine_tuning_rate=1e-4, per_class=dict(train=100, validation=25, test=50),
        ),
    },
    "05-beans": {
        "sample": dict(
            dataset="beans", backbone="efficientnet-lite0", image_size=128, epochs=20, learning_rate=1e-3,
            fine_tuning_epochs=4, fine_tuning_rate=1e-4, unfrozen="few",
        ),
        "full": dict(
            dataset="beans", backbone="ResNet50", image_size=224, epochs=20, learning_rate=1e-3,
            fine_tuning_epochs=10, fine_tuning_rate=1e-5, unfrozen="few",
        ),
    },
}  # fmt: skip
LESSONS = tuple(_LESSONS)


def settings(lesson: str, run: str | None = None) -> Settings:
    """Return the numbers of one lesson for the chosen run.

    Args:
        lesson: Number of the lesson, one of ``LESSONS``.
        run: ``"sample"``, ``"full"``, or None to let ``COURSE_RUN`` or the hardware decide.

    Raises:
        ValueError: if the lesson, the run or the backbone in ``COURSE_BACKBONE`` is not known, or ``COURSE_LIMIT``
            is no number from 1.
    """
    if lesson not in _LESSONS:
        raise ValueError(f"There is no lesson {lesson!r}: choose from {', '.join(LESSONS)}.")
    chosen = run or os.environ.get("COURSE_RUN") or _run_for_this_machine()
    if chosen not in RUNS:
        raise ValueError(f"There is no run {chosen!r}: choose from {', '.join(RUNS)} (COURSE_RUN).")
    numbers = copy.deepcopy(_LESSONS[lesson][chosen])
    if override := os.environ.get("COURSE_BACKBONE"):
        numbers |= dict(backbone=checked_backbone(override), hub_models={})
    if (limit := _limit()) is not None:
        own = numbers.get("per_class", {})
        numbers["per_class"] = {split: min(limit, own.get(split, limit)) for split in ("train", "validation", "test")}
    return Settings(lesson=lesson, run=chosen, **numbers)


def _limit() -> int | None:
    if not (given := os.environ.get("COURSE_LIMIT")):
        return None
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(f"COURSE_LIMIT is {given!r}: give the most images of a class, 1 or more, or unset it.")
    return int(given)


def checked_backbone(name: str) -> str:
    """Return ``name`` if it is one of ``BACKBONES``; raise ValueError that lists them if not."""
    if name not in BACKBONES:
        raise ValueError(f"There is no backbone {name!r}: choose from {', '.join(BACKBONES)}.")
    return name


def data_folder() -> Path | None:
    """The folder named by ``COURSE_DATA``, or None. A relative path counts from the project's folder.

    Raises:
        ValueError: if the folder does not exist.
    """
    if not (named := os.environ.get("COURSE_DATA")):
        return None
    folder = (ROOT / os.path.expanduser(named)).resolve()
    if not folder.is_dir():
        raise ValueError(f"COURSE_DATA names {folder}, which is not a folder: correct it, or unset it to download.")
    return folder


def keep_folder() -> Path | None:
    """The folder named by ``COURSE_KEEP``, or None; says so where it is gone, as a Drive that is unmounted."""
    if not (named := os.environ.get("COURSE_KEEP")):
        return None
    folder = (ROOT / os.path.expanduser(named)).resolve()
    if not folder.is_dir():
        print(f"COURSE_KEEP names {folder}, which is not there: features and models are kept in {BUILD.name}/ only.")
        return None
    return folder


def models_folder() -> Path:
    """Where trained models are saved; it is made if it is not there."""
    folder = BUILD / "models"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def measured_with() -> dict:
    """What a result is measured with: versions of Python and the main packages, number of processors."""
    versions = {name: metadata.version(name) for name in ("tensorflow", "keras", "numpy")}
    return {"packages": versions, "python": platform.python_version(), "cpus": os.cpu_count()}


def _run_for_this_machine() -> str:
    import tensorflow as tf

    return "full" if tf.config.list_physical_devices("GPU") else "sample"
