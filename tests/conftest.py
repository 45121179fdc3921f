"""Shared fixtures. The environment is set here, before any test module imports TensorFlow or Matplotlib."""

import importlib.util
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # exact comparisons need the same arithmetic on every machine
os.environ["MPLBACKEND"] = "Agg"

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from helpers import config


@pytest.fixture(autouse=True)
def no_course_variables(monkeypatch):
    for name in [name for name in os.environ if name.startswith("COURSE_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def write_images(folder: Path, counts: dict[str, dict[str, int]], pixels: int = 12) -> Path:
    """Write JPEGs of one colour each, all different, to ``folder/split/class/NN.jpg``."""
    number = 0
    for split, classes in counts.items():
        for class_name, count in classes.items():
            (folder / split / class_name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                colour = (37 * number % 256, 91 * number % 256, 151 * number % 256)
                image = Image.new("RGB", (pixels, pixels), colour)
                image.save(folder / split / class_name / f"{i:02d}.jpg", quality=100, subsampling=0)
                number += 1
    return folder


@pytest.fixture
def images_in(tmp_path) -> Callable[..., Path]:
    """A function from counts by split and class to a data set folder of tiny JPEGs."""

    def make(**counts) -> Path:
        return write_images(tmp_path / "set", counts)

    return make


@pytest.fixture
def tiny_set(images_in) -> Path:
    """Three splits of two classes."""
    return images_in(train=dict(cat=4, dog=3), validation=dict(cat=2, dog=2), test=dict(cat=1, dog=2))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def set_precision() -> Callable[[str], None]:
    """A function that chooses Keras's precision, ``"float32"`` or ``"mixed_float16"``; afterwards it is float32."""
    import keras  # here, so that tests without Keras stay quick

    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


def load_script(name: str) -> types.ModuleType:
    """A script of the project as a module, such as ``"tools/run_lessons.py"``."""
    path = config.ROOT / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def run_python() -> Callable[..., str]:
    """A function that runs code in a fresh Python process and returns what it printed."""

    def run(code: str, *arguments: object, cwd: Path | None = None) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COURSE_")}
        command = [sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run
