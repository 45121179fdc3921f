"""Note on which versions the tests passed, for the README's table: data/results/tested.json.

python tools/tested.py NAME [REPORT...]

Run it with the Python that was tested, after the tests; NAME says which stack it is, and each REPORT is a file that
pytest wrote (``--junitxml``), by default those of ``make test``.
"""

import argparse
import json
import platform
import sys
import xml.etree.ElementTree as ElementTree
from importlib import metadata
from pathlib import Path

from helpers import config

RESULT = config.RESULTS / "tested.json"
PACKAGES = ("tensorflow", "keras", "tf_keras", "tensorflow-hub", "setuptools", "numpy", "ipykernel")


def passed(report: Path) -> tuple[int, str]:
    """Number of tests that passed, and the date; exits with a sentence if one did not pass."""
    (suite,) = ElementTree.parse(report).getroot().iter("testsuite")  # the file is our own pytest's
    counts = {name: int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")}
    if counts["failures"] or counts["errors"]:
        sys.exit(f"{report} tells of {counts['failures']} failures and {counts['errors']} errors: nothing is noted.")
    return counts["tests"] - counts["skipped"], suite.get("timestamp")[:10]


def main(arguments: list[str] | None = None) -> int:
    """Write the entry of one stack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument(
        "reports", nargs="*", type=Path, default=[config.BUILD / f"{x}.xml" for x in ("unit", "lessons")]
    )
    options = parser.parse_args(arguments)
    told = {report.stem.partition("-")[0]: passed(report) for report in options.reports}
    entry = {
        "python": platform.python_version(),
        "packages": {package: metadata.version(package) for package in PACKAGES},
        "passed": {name: count for name, (count, _) in told.items()},
        "date": min(date for _, date in told.values()),
    }
    tested = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    RESULT.write_text(json.dumps(tested | {options.name: entry}, indent=2) + "\n", encoding="utf-8")
    print(f"{options.name}: {entry}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
