"""Size and speed of the networks that lesson 01 compares, written to ``data/results/networks.json``.

python benchmarks/networks.py

ImageNet accuracies are those that https://keras.io/api/applications states. Speed: images per second of a forward pass
of 8 images, median of 5 passes after one to warm up. Random weights: they change neither size nor speed.
"""

import json
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np

from helpers import config

STATED = {  # name -> ImageNet top-1 accuracy in per cent, input size in pixels
    "MobileNetV2": (71.3, 224),
    "EfficientNetB0": (77.1, 224),
    "ResNet50": (74.9, 224),
    "ResNet50V2": (76.0, 224),
    "ResNet101": (76.4, 224),
    "InceptionV3": (77.9, 299),
    "VGG16": (71.3, 224),
    "VGG19": (71.3, 224),
}


def measure(name: str, accuracy: float, size: int) -> dict:
    """One row of the table."""
    network = getattr(keras.applications, name)(weights=None)
    images, seconds = np.zeros((8, size, size, 3), np.float32), []
    for _ in range(6):
        start = time.perf_counter()
        network.predict_on_batch(images)
        seconds.append(time.perf_counter() - start)
    maps = [layer.output for layer in network.layers if len(layer.output.shape) == 4]
    backbone = keras.Model(network.input, maps[-1])
    return {
        "ImageNet accuracy": f"{accuracy} %",
        "parameters": f"{network.count_params():,}",
        "without classifier": f"{backbone.count_params():,}",
        "features": backbone.output_shape[-1],
        "input": size,
        "images per second": float(f"{8 / statistics.median(seconds[1:]):.2g}"),
    }


if __name__ == "__main__":
    rows = {name: measure(name, *stated) for name, stated in STATED.items()}
    text = json.dumps({"networks": rows, **config.measured_with()}, indent=2) + "\n"
    (config.RESULTS / "networks.json").write_text(text, encoding="utf-8")
    print(text)
