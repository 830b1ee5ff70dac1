"""What the project holds at a commit: files of git and of DVC, read without a checkout."""

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from dvc.repo import Repo

from foldwise.core import config, paths
from foldwise.core.config import Config
from foldwise.core.errors import ComparisonError, ConfigError

WORKSPACE = "workspace"
LOCK = "dvc.lock"


@dataclass(frozen=True, eq=False)
class Side:
    """The project at a revision, or the workspace as it is: one side of a comparison.

    Attributes:
        name: the revision as it was asked for, or "workspace".
        commit: its full hash; None for the workspace.
        files: everything that git or DVC has there, from the project's root.
        settings: its params.yaml.
    """

    name: str
    commit: str | None
    files: Any
    settings: Config


def open_side(revision: str | None, root: Path = Path()) -> Side:
    """The workspace (None), or a commit, tag, branch or DVC experiment of the project in `root`.

    Raises:
        ComparisonError: no such revision, or the project is in no git repository.
        ConfigError: it has no params.yaml, or one that this foldwise does not read.
    """
    name = revision or WORKSPACE
    files = _files(root, revision)
    commit = _commit(files, revision) if revision else None
    try:
        text = files.read_text(str(paths.PARAMS), encoding="utf-8")
    except (FileNotFoundError, DvcException) as error:
        raise ConfigError(f"{paths.PARAMS} of {name}: cannot be read ({error})") from None
    return Side(name, commit, files, config.parse(text, f"{paths.PARAMS} of {name}"))


def resolve(revisions: Sequence[str], root: Path = Path()) -> list[str]:
    """The commits that revisions name, each once, parents before their children.

    Args:
        revisions: commits, tags, branches, DVC experiments, or ranges as git understands them
            (`v1..HEAD` leaves v1 itself out).
        root: the project's root.

    Raises:
        ComparisonError: no such revision, or the project is in no git repository.
    """
    found: dict[str, None] = {}
    for revision in revisions:
        if ".." in revision:
            try:
                listed = git(root, "rev-list", "--reverse", "--topo-order", revision, "--")
            except ComparisonError as error:
                raise _unknown(revision, error) from None
            found |= dict.fromkeys(listed.split())
        else:
            found[_commit(_files(root, revision), revision)] = None
    return list(found)


def locks(commits: Sequence[str], root: Path = Path()) -> list[str]:
    """For each commit what names its dvc.lock: equal for equal content, "" where it has none.

    Raises:
        ComparisonError: git does not answer.
    """
    objects = "".join(f"{commit}:./{LOCK}\n" for commit in commits)
    answers = git(root, "cat-file", "--batch-check=%(objectname)", input=objects).splitlines()
    return ["" if answer.endswith(" missing") else answer for answer in answers]


def git(root: Path, *arguments: str, input: str = "") -> str:  # noqa: A002 - as in subprocess
    """What git answers.

    Raises:
        ComparisonError: it is not there, or says that it cannot be done.
    """
    command = ["git", "-C", str(root), *arguments]
    try:
        return subprocess.run(
            command, input=input, capture_output=True, text=True, check=True, timeout=60
        ).stdout
    except subprocess.CalledProcessError as error:
        raise ComparisonError(f"git {arguments[0]}: {error.stderr.strip()}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ComparisonError(f"git {arguments[0]}: {error}") from None


def _files(root: Path, revision: str | None) -> DVCFileSystem:
    """With the workspace's remote: an older commit may name another one, or none yet."""
    remote = None
    with suppress(DvcException), Repo(str(root)) as repo:
        remote = repo.config["core"].get("remote")
    return DVCFileSystem(str(root.resolve()), rev=revision, remote=remote)


def _commit(files: Any, revision: str) -> str:
    try:
        return str(files.repo.get_rev())
    except DvcException as error:
        raise _unknown(revision, error) from None


def _unknown(revision: str, reason: Exception) -> ComparisonError:
    return ComparisonError(
        f"--rev {revision}: {reason}; it must be a commit, tag, branch or DVC experiment of "
        "this repository: `git fetch` brings what a remote has, `dvc exp list` names experiments"
    )
