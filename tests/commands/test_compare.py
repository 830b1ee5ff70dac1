"""`foldwise compare`: what it prints, and that nothing but a loss ends like one."""

import json
from collections.abc import Iterator
from pathlib import Path

import fabricate
import pytest
import repositories
from fabricate import Plan
from repositories import git
from shell import Run

from foldwise import revisions
from foldwise.core import paths
from foldwise.core.endings import DONE, FAILED, NEGATIVE, REFUSED, UNEXPECTED
from foldwise.revisions import Place, RevisionComparison, RevisionPair, RevisionRefused

GATE = ("--fail-if", "worse")
CONFLICT = "<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> other\n"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results at `good`; at `bad`, and in the workspace, a variant that only guesses."""
    root = tmp_path_factory.mktemp("compare") / "project"
    params = repositories.PARAMS.replace("folds: 2, repeats: 1", "folds: 5, repeats: 4")
    repositories.start(root, params)
    fabricate.project(root, Plan(params, synthetic=True, skills={"tiny-dropout": 9}))
    repositories.commit(root, "good")
    fabricate.project(root, Plan(params, synthetic=True, skills={"tiny-dropout": 0}))
    repositories.commit(root, "bad")
    return root


@pytest.fixture
def root(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory; afterwards as it was."""
    monkeypatch.chdir(repository)
    yield repository
    git(repository, "checkout", "-q", "--", ".")


@pytest.mark.usefixtures("root")
def test_a_loss_has_a_status_of_its_own(foldwise: Run) -> None:
    assert foldwise("compare", "--rev", "bad", "--rev", "good", *GATE).status == DONE
    lost = foldwise("compare", "--rev", "good", *GATE)
    assert lost.status == NEGATIVE == 3
    assert "Hurts" in lost.out
    assert foldwise("compare", "--rev", "good").status == DONE


@pytest.mark.usefixtures("root")
def test_a_table_markdown_or_json_is_printed(foldwise: Run) -> None:
    assert foldwise("compare", "--rev", "good").out.startswith("A = good (")
    page = foldwise("compare", "--rev", "good", "--markdown").out
    assert page.startswith("### foldwise compare: A = `good (")
    tree = json.loads(foldwise("compare", "--rev", "good", "--json").out)
    assert [pair["variant_b"] for pair in tree["pairs"]] == ["tiny-plain", "tiny-dropout"]
    both = foldwise("compare", "--rev", "good", "--json", "--markdown")
    assert (both.status, both.out) == (REFUSED, "")
    assert "--markdown and --json exclude each other" in both.err


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("revision", ["", " ", "nope", "workspace"])
def test_a_gate_does_not_pass_on_a_revision_that_is_none(revision: str, foldwise: Run) -> None:
    """As of a variable in CI that is not set."""
    for sides in (["--rev", revision], ["--rev", revision, "--rev", "good"]):
        done = foldwise("compare", *sides, *GATE)
        assert (done.status, done.out) == (REFUSED, "")
        assert done.err.startswith(f"error: --rev {revision}: ")


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        (paths.metrics("tiny-dropout"), CONFLICT, REFUSED),
        (paths.metrics("tiny-dropout"), "", REFUSED),
        (paths.metrics("tiny-dropout"), "[]", REFUSED),
        (paths.scores("tiny-dropout"), "", REFUSED),
        (paths.scores("tiny-dropout"), CONFLICT, REFUSED),
        (paths.PARAMS, CONFLICT, FAILED),
        (paths.PARAMS, "", FAILED),
        (Path("dvc.yaml"), CONFLICT, FAILED),
        (Path("dvc.lock"), CONFLICT, FAILED),
        (Path(".dvc/config"), CONFLICT, FAILED),
    ],
    ids=str,
)
def test_damaged_files_are_no_verdict(
    path: Path, content: str, status: int, root: Path, foldwise: Run
) -> None:
    """In the workspace and in a commit."""
    (root / path).write_text(content)
    done = foldwise("compare", "--rev", "good", *GATE)
    assert done.status == status, done
    assert path.name in done.err + done.out
    assert "Traceback" not in done.err


def test_a_crash_is_no_verdict(root: Path, foldwise: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("foldwise.comparison.compare")
    done = foldwise("compare", "--rev", "good", *GATE)
    assert (done.status, done.out) == (UNEXPECTED, "")
    assert "Traceback" not in done.err
    (kept,) = (root / paths.ERRORS).iterdir()
    assert str(kept) in done.err
    assert "Traceback" in kept.read_text()


@pytest.mark.parametrize(
    ("verdicts", "plain", "gate"),
    [
        (["Inconclusive", "Helps"], DONE, DONE),
        (["Inconclusive", "Hurts"], DONE, NEGATIVE),
        (["Helps", None], DONE, REFUSED),
        (["Hurts", None], DONE, NEGATIVE),
        ([None, None], REFUSED, REFUSED),
        ([], REFUSED, REFUSED),
    ],
)
def test_exit_status_of_a_gate(verdicts: list[str | None], plain: int, gate: int) -> None:
    refused = RevisionRefused(variant_a="x", variant_b="x", study="s", refused="other splits")
    compared = RevisionComparison.model_construct(
        a=Place(revision="main", commit="0" * 40),
        b=Place(revision="workspace", commit=None),
        pairs=[RevisionPair.model_construct(verdict=v) if v else refused for v in verdicts],
    )
    assert revisions.exit_status(compared, fail_if_worse=False) == plain
    assert revisions.exit_status(compared, fail_if_worse=True) == gate
