"""Each lesson's plain cell, copied into an empty script with a folder of photographs, runs as it stands."""

import re
import shutil
import subprocess
import sys

import nbformat
import pytest

from helpers import config, data, folder, lessons

PATHS = sorted((config.ROOT / "notebooks").glob("[0-9]*.ipynb"))


def plain_source(path):
    cells = nbformat.read(path, as_version=4).cells
    (source,) = [cell.source for cell in cells if "plain" in cell.metadata.get("tags", [])]
    return source


@pytest.fixture
def photographs(tmp_path):
    """A function that copies a few photographs per class into a folder of their own."""

    def copied(settings):
        place = config.SAMPLES / settings.dataset
        dataset = data.find_images(place) if (place / "train").is_dir() else folder.split(folder.check(place))
        images = dataset.train.draw(per_class=8, seed=0)
        for source, label in zip(images.paths, images.labels, strict=True):
            target = tmp_path / "mine" / images.class_names[label]
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        return tmp_path / "mine"

    return copied


@pytest.mark.parametrize("path", PATHS, ids=[path.stem[:2] for path in PATHS])
def test_plain_cell_runs_as_a_script(path, photographs, tmp_path):
    number = path.name[:2]
    mine = photographs(lessons.parts(number, "sample")[-1])
    first_line = r"(?m)^(folder|train_folder)(, \w+)? = [^,\n]+"
    source, found = re.subn(first_line, rf"\1\2 = {str(mine)!r}", plain_source(path))
    assert found == 1, "the first lines must name the folder"
    given = ""
    if number == "02":  # the address of a Hub model stands in a cell above it
        given = (
            "from helpers import hub, lessons\nsettings = lessons.settings('02', 'sample')\n"
            "handle = hub.handles(settings)[settings.backbone]\n"
        )
    script = tmp_path / "script.py"
    script.write_text(given + re.sub(r"epochs=\d+", "epochs=1", source))
    environment = {"PATH": "", "PYTHONPATH": str(config.ROOT), "COURSE_RUN": "sample", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "accuracy" in done.stdout
