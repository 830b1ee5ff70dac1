"""`foldwise doctor`: find what is wrong, and fix what is safe to fix."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foldwise.commands.track import mirror
from foldwise.core.endings import DONE, NEGATIVE

if TYPE_CHECKING:
    from foldwise.doctor.findings import Finding

EXAMPLES = """
looks for:
  files     temporary files of killed processes; run folders, metrics, comparisons and data of
            what params.yaml no longer declares; damaged run folders; damaged trained splits
  DVC       locks of a killed dvc; entries in dvc.lock of stages that are gone
  MLflow    results that are not in the store, or not whole; runs that stay RUNNING though nothing
            is at work on them; runs shown as current without results; artifacts without a run; a
            database of another MLflow, or of another folder; a server that does not answer
  around    FOLDWISE_* variables with a bad value or name; params.yaml; full disks

examples:
  foldwise doctor           report
  foldwise doctor --fix     report, fix, and report what is left

exit status:
  0  nothing is wrong (any more)
  1  an error: no answer
  3  something is wrong
"""


def run(
    fix: Annotated[bool, typer.Option("--fix", help="Fix what is safe to fix.")] = False,
) -> int:
    """Find what is wrong, and fix it with --fix.

    It looks at the workspace and the MLflow store. Each finding is a line: where, what, and the
    remedy. --fix carries out the remedies marked with a *, after listing them. It deletes only
    what can be had again: from git, from DVC's cache by a committed dvc.lock, or by running the
    pipeline.
    """
    from foldwise.doctor import workspace
    from foldwise.engine.store import Store

    store = Store(Path.cwd())
    if store.kept():
        print(f"{store.folder.relative_to(Path.cwd())}: {store}")
    findings = _examine()
    for _ in range(workspace.ROUNDS if fix else 0):
        if not any(finding.fix for finding in findings):
            break
        print("\nfixing those with a *")
        for problem in workspace.fix(findings):
            print(f"could not be fixed: {problem}")
        print("\nwhat is left:")
        findings = _examine()
    if not findings:
        print("nothing is wrong")
        return DONE
    if not fix and any(finding.fix for finding in findings):
        print("\n`foldwise doctor --fix` fixes those with a *")
    return NEGATIVE


def _examine() -> "list[Finding]":
    from foldwise.doctor import workspace

    findings = workspace.examine(Path.cwd(), mirror)
    for finding in findings:
        print(f"{'*' if finding.fix else '-'} {finding.text}")
    return findings
