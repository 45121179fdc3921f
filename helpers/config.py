"""Which run this is, and where things lie: the project's folders and the environment variables that change them.

- ``COURSE_RUN``: ``sample`` (embedded photographs, any CPU, no network) or ``full`` (the real data set); without it,
  ``full`` where TensorFlow sees a GPU, else ``sample``.
- ``COURSE_DATA``: a folder that already holds the real data sets; nothing is downloaded then.
- ``COURSE_WEIGHTS``: a folder with ``NAME_notop.weights.h5`` files; they are used in place of a download.
- ``COURSE_BACKBONE``: a backbone to use in place of the lesson's own.
- ``COURSE_KEEP``: a folder for trained models, which should outlive the machine.

TensorFlow is imported only where a GPU has to be looked for.
"""

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


def run(chosen: str | None = None) -> str:
    """Return which run this is, ``"sample"`` or ``"full"``.

    Args:
        chosen: The run, or None to let ``COURSE_RUN`` or the hardware decide.

    Raises:
        ValueError: if there is no such run.
    """
    found = chosen or os.environ.get("COURSE_RUN") or _run_for_this_machine()
    if found not in RUNS:
        raise ValueError(f"There is no run {found!r}: choose from {', '.join(RUNS)} (COURSE_RUN).")
    return found


def checked_backbone(name: str) -> str:
    """Return ``name`` if it is one of ``BACKBONES``; raise ValueError that lists them if not."""
    if name not in BACKBONES:
        raise ValueError(f"There is no backbone {name!r}: choose from {', '.join(BACKBONES)}.")
    return name


def data_folder() -> Path | None:
    """The folder named by ``COURSE_DATA``, or None. ValueError if it does not exist."""
    return _named_folder("COURSE_DATA")


def weights_folder() -> Path | None:
    """The folder named by ``COURSE_WEIGHTS``, or None. ValueError if it does not exist."""
    return _named_folder("COURSE_WEIGHTS")


def keep_folder() -> Path:
    """Where trained models are saved: ``COURSE_KEEP``, else ``build/kept``; it is made if missing.

    On Colab, mount Google Drive and set ``COURSE_KEEP`` to a folder on it, and a disconnect loses no training.
    """
    folder = _from_root(os.environ.get("COURSE_KEEP") or BUILD / "kept")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"Nothing can be kept in {folder} ({error.strerror}): set COURSE_KEEP to a folder.") from error
    return folder


def measured_with() -> dict:
    """What a result is measured with: versions of Python and the main packages, number of processors."""
    versions = {name: metadata.version(name) for name in ("tensorflow", "keras", "numpy")}
    return {"packages": versions, "python": platform.python_version(), "cpus": os.cpu_count()}


def _named_folder(variable: str) -> Path | None:
    if not (named := os.environ.get(variable)):
        return None
    if not (folder := _from_root(named)).is_dir():
        raise ValueError(f"{variable} names {folder}, which is not a folder: correct it, or unset it to download.")
    return folder


def _from_root(path: str | Path) -> Path:
    """A path as the project sees it: relative ones count from the project's folder, not from the notebook's."""
    return (ROOT / os.path.expanduser(path)).resolve()


def _run_for_this_machine() -> str:
    import tensorflow as tf

    return "full" if tf.config.list_physical_devices("GPU") else "sample"
