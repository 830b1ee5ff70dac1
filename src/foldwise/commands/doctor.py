"""`foldwise doctor`: find what is wrong, and fix what is safe to fix."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foldwise.commands.track import mirror
from foldwise.core.endings import DONE, NEGATIVE

if TYPE_CHECKING:
    from foldwise.doctor import Finding

EXAMPLES = """
looks for:
  files     temporary files of killed processes; run folders, metrics, comparisons and data of
            what params.yaml no longer declares; damaged run folders; damaged trained splits
  DVC       locks of a killed dvc; a damaged dvc.lock, or entries in it of stages that are gone;
            a project without git
  MLflow    results that are not in the store, or not whole; runs that stay RUNNING though nothing
            is at work on them; runs shown as current without results; artifacts without a run; a
            database of another MLflow, or of another folder; a server that does not answer
  around    FOLDWISE_* variables with a bad value or name; params.yaml; full disks

examples:
  foldwise doctor           report
  foldwise doctor --fix     report, fix, and report what is left
  foldwise doctor --fix --dvc    the same of what keeps dvc from running, as `make repro` does it

exit status:
  0  nothing is wrong (any more)
  1  an error: no answer
  3  something is wrong
"""


def run(
    fix: Annotated[bool, typer.Option("--fix", help="Fix what is safe to fix.")] = False,
    dvc: Annotated[bool, typer.Option("--dvc", help="Only what keeps dvc from running.")] = False,
) -> int:
    """Find what is wrong, and fix it with --fix.

    It looks at the workspace and the MLflow store. Each finding is a line: where, what, and the
    remedy. --fix carries out the remedies marked with a *, after listing them. It deletes only
    what can be had again: from git, from DVC's cache by a committed dvc.lock, or by running the
    pipeline.
    """
    from foldwise import doctor
    from foldwise.core.errors import masked

    def look() -> list[doctor.Finding]:
        findings = _examine(dvc)
        for finding in findings:
            print(f"{'*' if finding.fix else '-'} {masked(finding.text)}")
        return findings

    if not dvc:
        _say_store()
    findings = look()
    for _ in range(doctor.ROUNDS if fix else 0):
        if not any(finding.fix for finding in findings):
            break
        print("\nfixing those with a *")
        for problem in doctor.fix(findings):
            print(f"could not be fixed: {masked(problem)}")
        print("\nwhat is left:")
        findings = look()
    if not findings:
        print("nothing keeps dvc from running" if dvc else "nothing is wrong")
        return DONE
    if not fix and any(finding.fix for finding in findings):
        print("\n`foldwise doctor --fix` fixes those with a *")
    return NEGATIVE


def _examine(dvc: bool) -> "list[Finding]":
    if dvc:
        from foldwise.doctor import locks

        return locks.examine(Path.cwd())
    from foldwise.doctor import workspace

    return workspace.examine(Path.cwd(), mirror)


def _say_store() -> None:
    from foldwise.engine.store import Store

    store = Store(Path.cwd())
    if store.kept():
        print(f"{store.folder.relative_to(Path.cwd())}: {store}")
