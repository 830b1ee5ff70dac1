"""What `make faults` saw becomes tables; what is not as expected is named."""

import json
from pathlib import Path

import page
from catalogue import CATALOGUE

ROOT = Path(__file__).parents[2]
ROW = CATALOGUE["Data"][0]
KILL = {
    "number": 3, "seed": 7, "command": "dvc repro train", "victim": "group", "moment": "write 5",
    "waited": 0, "mended": False, "problems": [],
}  # fmt: skip
AGAIN = {
    "number": 0, "seed": 7, "victim": "worker", "seconds": 2.5, "kept": 10, "begun": 4,
    "trained": 32, "total": 42, "lost": 17.0, "problems": [],
}  # fmt: skip


def case(test: str, inside: str = "") -> str:
    file, _, name = test.partition("::")
    return f'<testcase file="tests/{file}" name="{name}[a]" time="1">{inside}</testcase>'


def seen(folder: Path, inside: str = "", **changes: object) -> page.Seen:
    """Everything as expected, but for the first test of the first row, and changes of the kill."""
    rows = [row for rows in CATALOGUE.values() for row in rows]
    first, *rest = dict.fromkeys(test for row in rows for test in row.tests)
    cases = case(first, inside) + "".join(map(case, rest))
    (folder / page.TESTS).write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    (folder / page.KILLS).write_text(json.dumps(KILL | changes) + "\n")
    for name in (page.SHORT, page.LONG):
        (folder / name).write_text(json.dumps(AGAIN) + "\n")
    return page.Seen.read(folder)


def test_the_page_is_written_from_what_was_seen(tmp_path: Path) -> None:
    copy = tmp_path / "reliability.md"
    copy.write_text((ROOT / "docs/reliability.md").read_text())
    page.write(copy, seen(tmp_path))
    text = copy.read_text()
    assert f"| 1 | {ROW.fault} | {ROW.expected} | as expected (2 passed) |" in text
    assert "| `dvc repro train` | 1 | 1 | 0 | 0 | 1 | 0 | 0 | 0 |" in text
    assert "| 0 | worker | 2.5 s | 10 | 4 | 42 | 10 % | yes |" in text
    assert "seeds of the kills: 7" in text
    assert seen(tmp_path).problems == []


def test_what_failed_was_skipped_or_did_not_run_is_said(tmp_path: Path) -> None:
    failed = seen(tmp_path, "<failure/>")
    assert failed.of(ROW) == "1 failed (1 passed)"
    assert failed.problems == [f"{ROW.fault}: 1 failed (1 passed)"]
    skipped = seen(tmp_path, '<skipped message="needs root"/>')
    assert skipped.of(ROW) == "1 skipped (1 passed; needs root)"
    assert skipped.problems == []
    (tmp_path / page.TESTS).unlink()
    assert page.Seen.read(tmp_path).of(ROW) == "2 not run (0 passed)"


def test_a_kill_that_is_not_as_expected_says_how_to_repeat_it(tmp_path: Path) -> None:
    bad = seen(tmp_path, problems=["left: runs/.x"])
    assert bad.problems == ["dvc repro train (--seed 7 --only 3): left: runs/.x"]
