import json
import sys

import pytest
import tested as tool


@pytest.fixture
def report(tmp_path, monkeypatch):
    """A function that writes what pytest reports; the results go to a folder of the test."""
    monkeypatch.setattr(tool, "RESULT", tmp_path / "tested.json")

    def write(name, tests=7, failures=0, errors=0, skipped=0):
        path = tmp_path / name
        counts = f'tests="{tests}" failures="{failures}" errors="{errors}" skipped="{skipped}"'
        counts += ' timestamp="2026-01-02T03:04:05+00:00"'
        path.write_text(f'<testsuites><testsuite name="pytest" {counts}></testsuite></testsuites>')
        return str(path)

    return write


def test_versions_and_passed_tests_are_noted_beside_those_of_other_stacks(report):
    tool.RESULT.write_text('{"older": {}}')
    assert tool.main(["newest", report("unit-colab.xml", tests=9, skipped=2), report("lessons.xml")]) == 0
    written = json.loads(tool.RESULT.read_text())
    assert written["older"] == {}
    assert written["newest"]["passed"] == {"unit": 7, "lessons": 7}
    assert written["newest"]["date"] == "2026-01-02"
    assert written["newest"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert set(written["newest"]["packages"]) == set(tool.PACKAGES)


@pytest.mark.parametrize("trouble", ["failures", "errors"])
def test_failed_tests_are_not_noted(report, trouble):
    with pytest.raises(SystemExit, match=f"1 {trouble}"):
        tool.main(["newest", report("unit.xml", **{trouble: 1})])
    assert not tool.RESULT.exists()
