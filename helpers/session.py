"""What a lesson's first cell does: missing packages on Colab, a quiet TensorFlow, two lines on the machine and the run.

Until ``start`` has seen to the packages, nothing is needed here that Python does not bring.
"""

import contextlib
import importlib
import os
import shlex
import shutil
import subprocess
import sys
import warnings
from importlib import metadata

from helpers import config


def start(lesson: str, run: str | None = None) -> None:
    """Make this machine ready for a lesson and say what it is. A second call changes nothing.

    On Colab, packages that are missing are installed, without touching the ones that are there.

    Args:
        lesson: Number of the lesson, such as ``"02"``.
        run: ``"sample"`` or ``"full"``, which holds for this kernel; None to let ``COURSE_RUN`` or the hardware decide.

    Raises:
        ModuleNotFoundError: if packages are missing that are not to be installed here.
        ValueError: if there is no such lesson, run or backbone, or Keras computes with something else than TensorFlow.
    """
    if missing := missing_requirements():
        if "google.colab" not in sys.modules:
            raise ModuleNotFoundError(
                f"This Python lacks what the lessons need: choose the kernel that `make setup` made, or install it "
                f"with `pip install {shlex.join(missing)}`."
            )
        if any(requirement.startswith("tensorflow>") for requirement in missing):
            raise ModuleNotFoundError(
                "This runtime has no TensorFlow: choose a GPU or the CPU in Runtime, Change runtime type."
            )
        print(install(missing))
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's threads and TensorFlow's slow each other down
    quiet_tensorflow()
    import keras

    from helpers import lessons

    if (backend := keras.config.backend()) != "tensorflow":
        raise ValueError(
            f"Keras computes with {backend} here, and the course with TensorFlow: set KERAS_BACKEND=tensorflow "
            "(or correct keras.json in the folder .keras of your home) and restart the kernel."
        )

    if not (parts := lessons.parts(lesson, run)):
        raise ValueError(f"There is no lesson {lesson!r}: choose from {', '.join(lessons.LESSONS)}.")
    if run:
        os.environ["COURSE_RUN"] = run
    print(machine())
    print(f"This is the {parts[0].run} run.")


def missing_requirements() -> list[str]:
    """Requirements of ``pyproject.toml`` that are not installed."""
    try:
        from packaging.requirements import Requirement

        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
    except ModuleNotFoundError as error:  # a bare Python: more will be missing
        return [error.name.partition(".")[0]]
    project = tomllib.loads((config.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    missing = []
    for requirement in map(Requirement, project["dependencies"]):
        if requirement.marker is None or requirement.marker.evaluate():
            try:
                metadata.version(requirement.name)
            except metadata.PackageNotFoundError:
                missing.append(f"{requirement.name}{requirement.specifier}")
    return missing


def install(requirements: list[str]) -> str:
    """Install packages by pip, and no others with them; return a sentence that says what became of it."""
    options = ["--quiet", "--no-deps", "--disable-pip-version-check", "--retries=1", "--timeout=10"]
    command = [sys.executable, "-m", "pip", "install", *options, *requirements]
    done = subprocess.run(command, capture_output=True, text=True)
    importlib.invalidate_caches()
    named = ", ".join(requirements)
    if done.returncode == 0:
        return f"Installed {named}; nothing else was changed."
    reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1].removeprefix("ERROR: ")
    return f"Could not install {named} ({reason}): connect to the network, and run this cell again."


def quiet_tensorflow() -> None:
    """Import TensorFlow without its start-up log and silence the warnings that a learner can do nothing about."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")  # tensorflow_hub still uses it
    warnings.filterwarnings("ignore", message="`shuffle=True` was passed")  # Keras says so of every tf.data.Dataset
    warnings.filterwarnings("ignore", message="IProgress not found")  # pooch's bar is drawn as text without ipywidgets
    with without_log():
        import tensorflow as tf
    tf.get_logger().setLevel("ERROR")


@contextlib.contextmanager
def without_log():
    """Drop what is written to stderr past Python's ``sys.stderr``, as TensorFlow's C++ code does."""
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def machine() -> str:
    """Versions, GPUs and processors in one line, and the free disk where it is scarce."""
    import tensorflow as tf

    measured = config.measured_with()
    found = tf.config.list_physical_devices("GPU")
    gpus = [tf.config.experimental.get_device_details(gpu).get("device_name", str(gpu)) for gpu in found]
    disk = shutil.disk_usage(config.ROOT).free / 1e9
    versions = [f"Python {measured['python']}"] + [f"{name} {v}" for name, v in measured["packages"].items()]
    return ", ".join(
        [*versions, " + ".join(gpus) or "no GPU", f"{measured['cpus']} processors"]
        + ([f"only {disk:.0f} GB of disk free"] if disk < 5 else [])
    )
