"""Everything that is wrong at once, by the command: found, fixed, and well again."""

import os
import shutil
import time
from pathlib import Path

import fabricate
import pytest
import repositories
from projects import Project

from foldwise.commands import doctor
from foldwise.core import config, paths
from foldwise.core.endings import DONE, NEGATIVE
from foldwise.doctor import locks, workspace
from foldwise.results.runs import RunFolder
from foldwise.tracking import place

WITHOUT_DROPOUT = repositories.PARAMS.replace("  tiny-dropout:", "  # tiny-dropout:")


def test_the_command(
    tmp_path: Path,
    empty_database: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Afterwards `track` and `dvc repro` have nothing to do, and nothing is lost."""
    root = tmp_path / "Ein Projekt für #1"
    repositories.start(root)
    fabricate.project(root, repositories.PLAN, models=True)
    repositories.commit(root, "v1")
    shutil.copy(empty_database, root / place.DATABASE)
    monkeypatch.chdir(root)
    paths.PARAMS.write_text(WITHOUT_DROPOUT)
    shutil.rmtree(paths.COMPARISONS)  # of both variants: nothing is drawn without it
    repositories.commit_only(root, "without")
    part = paths.METRICS / ".tiny-plain.json.abcdefgh"
    part.write_text("half")
    long_ago = time.time() - 2 * workspace.ABANDONED
    os.utime(part, (long_ago, long_ago))
    locks.RWLOCKS[0].write_text("")
    capsys.readouterr()
    assert doctor.run() == NEGATIVE
    lines = capsys.readouterr().out.splitlines()
    assert [line[:20] for line in lines] == [
        "* .dvc/tmp/rwlock: d",
        "* metrics/.tiny-plai",
        "* dvc.lock: entries ",
        "* runs/tiny-dropout:",
        "* metrics/tiny-dropo",
        "* metrics/tiny-dropo",
        "* runs/tiny-plain: t",
        "",
        "`foldwise doctor --f",
    ]
    assert part.exists()
    assert doctor.run(fix=True) == DONE
    out = capsys.readouterr().out
    assert out.startswith("\n".join(lines[:7]))
    assert out.endswith("what is left:\nnothing is wrong\n")
    assert doctor.run() == DONE
    assert Project(root, config.load()).track().created == 0
    with repositories.dvc(root) as repo:
        assert repo.status(targets=["train"]) == {}
    repositories.git(root, "checkout", "-q", "v1", "--", ".")
    with repositories.dvc(root) as repo:
        repo.checkout()
    RunFolder(paths.run("tiny-dropout")).check()
