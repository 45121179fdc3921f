"""Each lesson's numbers, for both runs, and where each backbone is cut for fine-tuning. Imports no TensorFlow."""

import copy
import dataclasses
import os

from helpers import config

# The last layer that stays frozen when few, some or many layers above it are fine-tuned: a name, since a count of
# layers means something else in each network. "few" trains the last block or so, "some" the last stage (block 5 of
# VGG16, the last 20 layers of MobileNetV2), "many" goes deeper.
FREEZE_POINTS = {
    "efficientnet-lite0": {"few": "block6d_add", "some": "block6b_add", "many": "block5c_add"},
    "MobileNetV2": {"few": "block_15_add", "some": "block_14_add", "many": "block_5_add"},
    "VGG16": {"few": "block5_conv2", "some": "block4_pool", "many": "block3_pool"},
    "ResNet50": {"few": "conv5_block2_out", "some": "conv4_block6_out", "many": "conv3_block4_out"},
    "ResNet50V2": {"few": "conv5_block2_out", "some": "conv4_block6_out", "many": "conv3_block4_out"},
    "EfficientNetB0": {"few": "block6d_add", "some": "block6b_add", "many": "block5c_add"},
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """One lesson's numbers in one run.

    Attributes:
        lesson: Number of the lesson, such as ``"02"``.
        run: ``"sample"`` or ``"full"``.
        dataset: Name of the data set: a folder of ``data/samples``, or an entry of ``data/datasets.toml``.
        backbone: Name of the pretrained network, one of ``config.BACKBONES``.
        image_size: Height and width in pixels of the images that the backbone sees.
        batch_size: Images in a training step.
        epochs: Passes through the training images; None where a linear probe is the head.
        learning_rate: Of the head; None where the lesson looks for it, or a linear probe is the head.
        fine_tuning_epochs: Passes through the training images after unfreezing.
        fine_tuning_rate: Learning rate of fine-tuning.
        unfrozen: How many layers are fine-tuned, ``"few"``, ``"some"`` or ``"many"``.
        depths: The depths that lesson 04 compares.
        copies: Augmented copies of each training image whose activations are kept.
        seeds: One training for each, where a lesson repeats its experiment.
        hub_models: Name of a backbone to its TensorFlow Hub handle (lesson 02, full run).
        per_class: Split to the most images per class that are used of it; a split that is not named is used whole.
    """

    lesson: str
    run: str
    dataset: str
    backbone: str
    image_size: int
    batch_size: int = 32
    epochs: int | None = 5
    learning_rate: float | None = 3e-3
    fine_tuning_epochs: int | None = None
    fine_tuning_rate: float | None = None
    unfrozen: str | None = None
    depths: tuple[str, ...] | None = None
    copies: int | None = None
    seeds: tuple[int, ...] = (0,)
    hub_models: dict[str, str] = dataclasses.field(default_factory=dict)
    per_class: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def freeze_at(self) -> str:
        """Name of the last layer that stays frozen in fine-tuning; ValueError for a lesson that does not fine-tune."""
        if self.unfrozen is None:
            raise ValueError(
                f"Lesson {self.lesson} does not fine-tune, so it has no freeze point: name a layer yourself."
            )
        return FREEZE_POINTS[self.backbone][self.unfrozen]

    def __repr__(self) -> str:
        shown = {name: value for name, value in vars(self).items() if value not in ({}, None)}
        return "\n".join(f"{name:18} {value}" for name, value in shown.items())


_HUB_MODELS = {
    "EfficientNetB0": "https://www.kaggle.com/models/tensorflow/efficientnet/TensorFlow2/b0-feature-vector/1",
    "ResNet50": "https://www.kaggle.com/models/tensorflow/resnet-50/TensorFlow2/feature-vector/1",
    "ResNet50V2": "https://www.kaggle.com/models/google/resnet-v2/frameworks/TensorFlow2/variations/50-feature-vector/versions/2",
}
_LESSONS = {
    "01": {
        "sample": dict(
            dataset="groceries", backbone="efficientnet-lite0", image_size=80, unfrozen="few",
            fine_tuning_epochs=3, fine_tuning_rate=1e-4, seeds=(0, 1, 2),
        ),
        "full": dict(
            dataset="food10", backbone="EfficientNetB0", image_size=224, unfrozen="few",
            fine_tuning_epochs=5, fine_tuning_rate=1e-4, seeds=(0, 1, 2),
        ),
    },
    "02": {
        "sample": dict(dataset="groceries", backbone="efficientnet-lite0", image_size=128),
        "full": dict(dataset="food10", backbone="EfficientNetB0", image_size=224, hub_models=_HUB_MODELS),
    },
    "03": {
        "sample": dict(
            dataset="pets", backbone="efficientnet-lite0", image_size=96, epochs=2, learning_rate=1e-2,
            fine_tuning_epochs=3, fine_tuning_rate=1e-4, unfrozen="few", copies=2, seeds=(0, 1, 2, 3),
        ),
        "full": dict(
            dataset="cats_vs_dogs", backbone="VGG16", image_size=192, epochs=4, learning_rate=2e-3,
            fine_tuning_epochs=3, fine_tuning_rate=1e-5, unfrozen="some", copies=1, seeds=(0, 1),
            per_class=dict(train=200, validation=100, test=500),
        ),
    },
    "04": {
        "sample": dict(
            dataset="groceries32", backbone="efficientnet-lite0", image_size=80, epochs=None, learning_rate=None,
            fine_tuning_epochs=3, fine_tuning_rate=5e-4, unfrozen="few", depths=("few", "some"), seeds=(0, 1),
        ),
        "full": dict(
            dataset="cifar10", backbone="MobileNetV2", image_size=160, epochs=None, learning_rate=None,
            fine_tuning_epochs=8, fine_tuning_rate=1.5e-4, unfrozen="some", depths=("few", "some", "many"),
            seeds=(0, 1),
            per_class=dict(train=500, validation=100, test=200),
        ),
    },
    "05-fruits": {
        "sample": dict(dataset="fruits360", backbone="efficientnet-lite0", image_size=100, epochs=30),
        "full": dict(dataset="fruits360", backbone="ResNet50", image_size=100, epochs=150),
    },
    "05-beans": {
        "sample": dict(
            dataset="beans", backbone="efficientnet-lite0", image_size=128, epochs=30, learning_rate=1e-3,
            fine_tuning_epochs=6, fine_tuning_rate=1e-5, unfrozen="few", seeds=(0, 1),
        ),
        "full": dict(
            dataset="beans", backbone="ResNet50", image_size=224, epochs=60, learning_rate=1e-3,
            fine_tuning_epochs=10, fine_tuning_rate=1e-5, unfrozen="few", seeds=(0, 1),
        ),
    },
    "06": {
        "sample": dict(
            dataset="vegetables", backbone="efficientnet-lite0", image_size=100, epochs=100, learning_rate=None,
            fine_tuning_epochs=8,
        ),
        "full": dict(
            dataset="vegetables", backbone="EfficientNetB0", image_size=224, epochs=100, learning_rate=None,
            fine_tuning_epochs=8,
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
        ValueError: if the lesson, the run, or the backbone in ``COURSE_BACKBONE`` is not known.
    """
    if lesson not in _LESSONS:
        raise ValueError(f"There is no lesson {lesson!r}: choose from {', '.join(LESSONS)}.")
    chosen = config.run(run)
    numbers = copy.deepcopy(_LESSONS[lesson][chosen])
    if override := os.environ.get("COURSE_BACKBONE"):
        numbers |= dict(backbone=config.checked_backbone(override), hub_models={})
    return Settings(lesson=lesson, run=chosen, **numbers)


def parts(number: str, run: str | None = None) -> list[Settings]:
    """The settings of each data set of a lesson: lesson 05 has two."""
    return [settings(name, run) for name in LESSONS if name.partition("-")[0] == number]
