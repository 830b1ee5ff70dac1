"""Results of a stand-in end with a line that says so, and how to have the real data."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fabricate import TINY, Cache
from shell import Run

from foldwise import reporting
from foldwise.core import config
from foldwise.results.studies import read_studies, stand_ins

SYNTHETIC = "rows: {editions: {synthetic: {rows: 40}}}"
REAL = "{real: {rows: 40, files: {f: {mirror_path: f, size: 1, sha256: %s}}}, " % ("a" * 64)
PLAN = replace(
    TINY, params=TINY.params.replace(SYNTHETIC, SYNTHETIC.replace("{synthetic", f"{REAL}synthetic"))
)
NOTICE = (
    "SYNTHETIC data stand in for rows: these results say nothing about the real ones; once a "
    "mirror or the network has those, `dvc repro -f download@rows` fetches them, and `make repro` "
    "goes on from there"
)


@pytest.fixture
def root(fabricated: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A project with a stand-in for data of which a real edition is declared."""
    made = fabricated.copy(tmp_path / "p", PLAN, synthetic=True, models=True)
    monkeypatch.chdir(made.root)
    return made.root


def last(output: str) -> str:
    return output.rstrip("\n").splitlines()[-1]


def test_results_and_doctor(root: Path, foldwise: Run) -> None:
    assert last(foldwise("results").out) == NOTICE
    assert f"- {NOTICE}" in foldwise("doctor").out.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["-m foldwise track", "{}/pipeline/track.py"])
def test_track(root: Path, command: str) -> None:
    words = command.format(Path(__file__).parents[2]).split(" ")
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    assert last(done.stdout) == NOTICE


def test_the_report(root: Path, fabricated: Cache, tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    reporting.write_report(read_studies(config.load(), root), page)
    assert NOTICE in page.read_text()
    made = fabricated.shared()
    reporting.write_report(read_studies(made.config, made.root), page)
    assert "made up, as params.yaml asks" in page.read_text()
    assert "download@" not in page.read_text()


def test_who_asks_for_synthetic_data_is_told_by_the_title_alone(
    fabricated: Cache, foldwise: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fabricated.shared().root)
    said = foldwise("results").out
    assert "tiny (synthetic data)" in said
    assert "download@" not in said


def test_real_results_are_no_stand_ins(fabricated: Cache) -> None:
    made = fabricated.shared(PLAN)
    assert stand_ins(made.config, made.root) == []
    made = fabricated.shared(PLAN, synthetic=True)
    assert stand_ins(made.config, made.root) == ["rows"]
    assert stand_ins(made.config, made.root / "nowhere") == []
