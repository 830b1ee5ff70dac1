"""What the other commands ask of the library, and what they print."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fabricate import Cache
from shell import Run

from foldwise import backfill, watching
from foldwise.commands import track
from foldwise.core.environment import Environment
from foldwise.core.errors import DataError
from foldwise.doctor import ROUNDS, Finding, workspace
from foldwise.tracking import champions, place, store


@pytest.fixture
def root(fabricated: Cache, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, which is the working directory."""
    monkeypatch.chdir(fabricated.shared().root)
    return Path.cwd()


@pytest.mark.parametrize("interval", ["0", "-1", "nan", "inf", "soon"])
def test_an_interval_that_cannot_be(interval: str, foldwise: Run) -> None:
    done = foldwise("track", "--follow", f"--interval={interval}")
    assert done.status == 2
    assert f"'{interval}' is not a number above 0" in done.err


def test_following_watches_until_ctrl_c(
    root: Path, foldwise: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []

    def follow(*asked: Any) -> None:
        calls.append(asked)
        raise KeyboardInterrupt

    monkeypatch.setattr(watching, "follow", follow)
    done = foldwise("track", "--follow", "--interval", "0.5")
    assert (done.status, done.out) == (0, "")
    assert done.err == "watching .foldwise/live/ for trainings; Ctrl-C ends it\n"
    assert calls[0][:3] == (root, Environment.read(), 0.5)
    assert foldwise("track", "--follow").status == 0
    assert calls[1][2] == track.INTERVAL


def test_following_needs_a_project(
    foldwise: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    done = foldwise("track", "--follow")
    assert done.status == 1
    assert "params.yaml: not found" in done.err


@pytest.mark.parametrize(("failed", "status"), [(False, 0), (True, 1)])
def test_revisions_come_after_the_workspace(
    failed: bool, status: int, foldwise: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []
    monkeypatch.setattr(track, "mirror", lambda: done.append("workspace"))

    def add(root: Path, revisions: list[str], *more: object) -> SimpleNamespace:
        done.append(revisions)
        return SimpleNamespace(failed=failed)

    monkeypatch.setattr(backfill, "backfill", add)
    assert foldwise("track", "--rev", "v1", "--rev", "v2..HEAD").status == status
    assert done == ["workspace", ["v1", "v2..HEAD"]]


@pytest.mark.usefixtures("root")
def test_promote_passes_on_what_was_asked(foldwise: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    def promote(settings: object, *asked: Any) -> str:
        calls.append(asked)
        return "promoted"

    monkeypatch.setattr(champions, "promote", promote)
    assert foldwise("promote", "tiny-plain", "--why", "quick").out == "promoted\n"
    foldwise("promote", "gone", "--study", "tiny")
    here = Path.cwd(), Environment.read()
    assert calls == [(*here, "tiny-plain", None, "quick"), (*here, "gone", "tiny", "")]


# --- ui ---------------------------------------------------------------------------------------


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command line that takes this process's place."""
    calls: list[list[str]] = []

    def execve(path: str, command: list[str], variables: dict[str, str]) -> None:
        assert path == command[0]
        assert variables["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
        calls.append(command)

    monkeypatch.setattr("os.execve", execve)
    return calls


@pytest.mark.parametrize("port", ["0", "99999", "http"])
def test_a_port_that_cannot_be(foldwise: Run, served: list[list[str]], port: str) -> None:
    done = foldwise("ui", "--port", port)
    assert done.status == 2
    assert "Invalid value for '--port'" in done.err
    assert served == []


@pytest.mark.usefixtures("root")
def test_the_ui_says_where_it_is_and_that_there_is_no_store(
    foldwise: Run, served: list[list[str]]
) -> None:
    done = foldwise("ui", "--port", "5001")
    assert done.err.splitlines() == [
        "no MLflow store yet: `foldwise track` builds it from runs/",
        "http://127.0.0.1:5001",
    ]
    assert served[0][1:4] == ["-m", "mlflow", "server"]
    assert "5001" in served[0]


def test_a_tracking_server_has_its_own_ui(
    root: Path, foldwise: Run, served: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@host")
    done = foldwise("ui")
    assert (done.status, served) == (1, [])
    assert "open http://***@host in a browser" in done.err


# --- doctor -----------------------------------------------------------------------------------


@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What the doctor finds; what is fixed leaves the list."""
    found: list[Finding] = []
    monkeypatch.setattr(workspace, "examine", lambda *asked: list(found))
    return found


def test_nothing_is_wrong(findings: list[Finding], foldwise: Run) -> None:
    for arguments in ([], ["--fix"]):
        done = foldwise("doctor", *arguments)
        assert (done.status, done.out) == (0, "nothing is wrong\n")


def test_findings_are_listed_and_those_that_can_be_are_fixed(
    findings: list[Finding], foldwise: Run
) -> None:
    findings += [Finding("a: is left"), Finding("b: goes", lambda: findings.pop(1))]
    done = foldwise("doctor")
    assert done.status == 3
    assert done.out.splitlines() == [
        "- a: is left",
        "* b: goes",
        "",
        "`foldwise doctor --fix` fixes those with a *",
    ]
    done = foldwise("doctor", "--fix")
    assert done.status == 3
    assert done.out.splitlines() == [
        "- a: is left",
        "* b: goes",
        "",
        "fixing those with a *",
        "",
        "what is left:",
        "- a: is left",
    ]


def test_what_cannot_be_fixed_is_said_and_not_tried_for_ever(
    findings: list[Finding], foldwise: Run
) -> None:
    def fail() -> None:
        raise DataError("why")

    findings.append(Finding("a: stays", fail))
    done = foldwise("doctor", "--fix")
    assert done.status == 3
    assert done.out.count("could not be fixed: why\n") == ROUNDS


# --- report -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("root")
def test_a_report_needs_the_store_that_it_links_to(foldwise: Run) -> None:
    done = foldwise("report")
    assert done.status == 1
    assert "mlflow.db: nothing is tracked yet; `foldwise track` makes it" in done.err


@pytest.mark.usefixtures("root")
def test_a_report_links_the_current_runs(
    foldwise: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("foldwise.tracking.experiments.shown", lambda *_: {"tiny-plain": "1"})
    calls: list[dict[str, Any]] = []

    def write_report(studies: object, path: Path, **more: Any) -> None:
        calls.append({"path": path, **more})

    monkeypatch.setattr("foldwise.reporting.write_report", write_report)
    page = tmp_path / "page.html"
    assert foldwise("report", str(page), "--ui", "http://host:1/").out == f"{page}\n"
    links = {"tiny-plain": "http://host:1/#/runs/1"}
    assert calls == [{"path": page, "commit": None, "links": links}]


def test_a_report_on_a_store_without_runs(
    fabricated: Cache, foldwise: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = fabricated.copy(tmp_path / "project").root
    monkeypatch.chdir(root)
    with store.opened(place.store_uri(root), Environment()):
        pass
    done = foldwise("report", "page.html")
    assert (done.status, done.out) == (0, "page.html\n")
    assert done.err == "no current run to link to; `foldwise track` makes them\n"


# --- demo -------------------------------------------------------------------------------------


def test_the_demo_says_where_its_report_is(foldwise: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foldwise.demo.make_workspace", lambda root, folder: None)
    monkeypatch.setattr("foldwise.demo.dvc", lambda folder, *arguments: None)
    done = foldwise("demo", "here")
    assert done.status == 0
    assert "here/reports/index.html\n  cd here && foldwise ui\n" in done.out


def test_the_demo_ends_as_dvc_does(
    foldwise: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    done = foldwise("demo")
    assert done.status == 2
    assert "has no dvc.yaml; run from the project's root" in done.err
    for folder in ("pipeline", "src"):
        Path(folder).mkdir()
    for name in ("dvc.yaml", ".dvcignore"):
        Path(name).touch()
    Path(".demo").mkdir()
    Path(".demo/.dvc").touch()  # where DVC wants a folder
    done = foldwise("demo")
    assert done.status == 1
    assert done.err.endswith("error: .demo: `dvc init --no-scm --quiet` failed, see above\n")
