"""Who tracked, from which commit and, under `dvc exp`, in which experiment: tags of every run."""

import getpass
from dataclasses import dataclass
from pathlib import Path

from foldwise.core import git
from foldwise.core.environment import Environment
from foldwise.core.errors import GitError

UNKNOWN = "unknown"  # value of the tag `dirty` where git could not say
BACKFILLED = "foldwise.backfilled"  # tag of runs whose results came from a commit
RESULTS = ("dvc.lock", "metrics", "comparisons", "plots", "reports", "dvc_plots")


@dataclass(frozen=True)
class Origin:
    """Where tracked results come from."""

    user: str  # who tracked them
    command: str  # with what
    commit: str = ""  # none where there is no git
    dirty: bool | None = False  # with uncommitted changes, other than to results; None: not known
    experiment: str = ""  # of DVC
    baseline_rev: str = ""  # the commit that it started from
    backfilled: bool = False  # of a commit, not of a workspace

    @property
    def tags(self) -> dict[str, str]:
        """As MLflow's tags; what is not known is left out."""
        dirty = UNKNOWN if self.dirty is None else str(self.dirty).lower()
        tags = {
            "mlflow.user": self.user,
            "mlflow.source.name": self.command,
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": self.commit,
            "git_commit": self.commit,
            "dirty": dirty if self.commit or self.dirty is None else "",
            "experiment": self.experiment,
            "baseline_rev": self.baseline_rev,
            BACKFILLED: "true" if self.backfilled else "",
        }
        return {key: value for key, value in tags.items() if value}


def of_workspace(root: Path, environment: Environment) -> Origin:
    """The origin of what lies in a workspace; its root is absolute."""
    commit, dirty = "", None
    try:
        commit = git.run(root, "rev-parse", "HEAD").strip()
        excluded = [f":(exclude){path}" for path in RESULTS]
        dirty = bool(git.run(root, "status", "--porcelain", "--", ".", *excluded))
    except GitError:
        if not any((folder / ".git").exists() for folder in (root, *root.parents)):
            dirty = False  # without git there is nothing that could be committed
    return Origin(
        user=user(),
        command="foldwise track",
        commit=commit,
        dirty=dirty,
        experiment=environment.experiment,
        baseline_rev=environment.baseline_rev,
    )


def of_commit(root: Path, commit: str) -> Origin:
    """The origin of results of a commit, or of the DVC experiment that it is."""
    experiment = baseline = ""
    refs = git.ask(
        root, "for-each-ref", f"--points-at={commit}", "--format=%(refname)", "refs/exps"
    )
    for ref in refs.split():
        match ref.split("/"):  # refs/exps/12/3456…/name
            case [_, _, start, rest, name] if len(start + rest) == len(commit):
                experiment, baseline = name, start + rest
    return Origin(
        user=user(),
        command="foldwise track --rev",
        commit=commit,
        experiment=experiment,
        baseline_rev=baseline,
        backfilled=True,
    )


def user() -> str:
    """The user's name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return "unknown"
