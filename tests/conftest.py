"""Shared fixtures. The environment is set here, before any test module imports TensorFlow or Matplotlib."""

import functools
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # exact comparisons need the same arithmetic on every machine
os.environ["MPLBACKEND"] = "Agg"

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def no_course_variables(monkeypatch):
    for name in [name for name in os.environ if name.startswith("COURSE_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def not_on_colab(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("google.colab")]:  # also where a stand-in is installed
        monkeypatch.delitem(sys.modules, name)


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


class Site(http.server.ThreadingHTTPServer):
    """Serves ``contents`` on this machine, and counts what it is asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.contents: dict[str, bytes] = {}
        self.hits: list[str] = []
        self.status = 200
        self.length: str | None = None  # as its header says; by default it is true
        self.cut_after: int | None = None

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.hits.append(self.path)
        content = self.server.contents.get(self.path.lstrip("/"))
        if content is None or self.server.status != 200:
            self.send_error(404 if content is None else self.server.status)
            return
        self.send_response(200)
        self.send_header("Content-Length", self.server.length or str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.server.cut_after])

    def log_message(self, *_):
        pass


@pytest.fixture
def site():
    server = Site()
    thread = threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.01), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


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
