"""What the project holds at a commit: files of git and of DVC, read without a checkout."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import getitem
from pathlib import Path
from typing import Any

from dvc.api import DVCFileSystem
from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException
from dvc.repo import Repo

from foldwise.core import config, git, paths
from foldwise.core.config import Config
from foldwise.core.errors import ComparisonError, ConfigError, GitError, MissingError

WORKSPACE = "workspace"
LOCK = "dvc.lock"
MISSING = object()


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The project at a commit, or the workspace as it is.

    Attributes:
        name: the revision as it was asked for, or "workspace".
        commit: its full hash; None for the workspace.
        files: everything that git or DVC has there, from the project's root.
    """

    name: str
    commit: str | None
    files: DVCFileSystem

    @cached_property
    def tree(self) -> dict[str, Any]:
        """Its params.yaml as it is written.

        Raises:
            ConfigError: it has none, or it is not YAML.
        """
        try:
            text = self.files.read_text(str(paths.PARAMS), encoding="utf-8")
        except (OSError, DvcException) as error:
            raise ConfigError(f"{self._params}: cannot be read ({error})") from None
        return config.read_yaml(text, self._params)

    @cached_property
    def settings(self) -> Config:
        """Its params.yaml.

        Raises:
            ConfigError: it has none, or one that this foldwise does not read.
        """
        return config.validated(self.tree, self._params)

    def has(self, path: Path) -> bool:
        """Whether git or a stage of DVC has a file here."""
        return bool(self.files.exists(path.as_posix()))

    def read(self, path: Path) -> bytes:
        """What is in a file.

        Raises:
            MissingError: git does not have it, nor do DVC's cache and its remote.
        """
        try:
            return bytes(self.files.read_bytes(path.as_posix()))
        except (OSError, DvcException) as error:
            raise MissingError(f"{path} is not in {self.name}") from error

    def copy(self, path: Path, root: Path) -> None:
        """Copy a file, or all files of a folder, to the same place under another root.

        Raises:
            MissingError: one of them cannot be had.
        """
        for name in self.files.find(path.as_posix()):
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                self.files.get_file(name, str(target))
            except (OSError, DvcException) as error:
                raise MissingError(
                    f"in neither DVC's cache nor its remote ({type(error).__name__}); `dvc push "
                    "--all-commits`, where they were made, brings them to the remote"
                ) from None

    def changed_parameters(self, stage: str) -> list[str]:
        """Parameters of a stage that params.yaml gives other values than dvc.lock: "key how"."""
        dependencies = self._parameters.get(stage, [])
        return [line for one in dependencies for line in _changes(one, self.tree)]

    @cached_property
    def _parameters(self) -> dict[str, list[ParamsDependency]]:
        """By stage, what it depends on in params.yaml."""
        return {
            getattr(stage, "name", ""): [
                dep for dep in stage.deps if isinstance(dep, ParamsDependency)
            ]
            for stage in self.files.repo.index.stages
        }

    @property
    def _params(self) -> str:
        return f"{paths.PARAMS} of {self.name}"


@contextmanager
def opened(revision: str | None, root: Path = Path()) -> Iterator[Snapshot]:
    """The workspace (None), or a commit, tag, branch or DVC experiment of the project in `root`.

    Raises:
        ComparisonError: no such revision, or the project is in no git repository.
    """
    # The workspace's remote: an older commit may name another one, or none yet.
    remote = None
    with suppress(DvcException), Repo(str(root)) as repo:
        remote = repo.config["core"].get("remote")
    files = DVCFileSystem(str(root.resolve()), rev=revision, remote=remote)
    commit = _commit(files, revision) if revision else None
    with files.repo:
        yield Snapshot(revision or WORKSPACE, commit, files)


def resolve(revisions: Sequence[str], root: Path = Path()) -> list[str]:
    """The commits that revisions name, each once, parents before their children.

    Args:
        revisions: commits, tags, branches, DVC experiments, or ranges as git understands them
            (`v1..HEAD` leaves v1 itself out).
        root: the project's root.

    Raises:
        ComparisonError: no such revision, or the project is in no git repository.
    """
    commits = [commit for revision in revisions for commit in _resolved(revision, root)]
    return list(dict.fromkeys(commits))


def lock(commit: str, root: Path = Path()) -> str:
    """What names the content of a commit's dvc.lock, "" where it has none."""
    return git.ask(root, "rev-parse", "--verify", f"{commit}:./{LOCK}")


def _resolved(revision: str, root: Path) -> list[str]:
    if ".." not in revision:
        with opened(revision, root) as snapshot:
            return [str(snapshot.commit)]
    try:
        return git.run(root, "rev-list", "--reverse", "--topo-order", revision, "--").split()
    except GitError as error:
        raise _unknown(revision, error) from None


def _commit(files: DVCFileSystem, revision: str) -> str:
    try:
        return str(files.repo.get_rev())
    except DvcException as error:
        raise _unknown(revision, error) from None


def _unknown(revision: str, reason: Exception) -> ComparisonError:
    return ComparisonError(
        f"--rev {revision}: {reason}; it must be a commit, tag, branch or DVC experiment of "
        "this repository: `git fetch` brings what a remote has, `dvc exp list` names experiments"
    )


def _changes(dependency: ParamsDependency, tree: Mapping[str, Any]) -> list[str]:
    """As `ParamsDependency.status`, which would parse params.yaml once for every stage."""
    locked = dependency.hash_info.value
    if locked is None:
        return [f"{paths.PARAMS} new"]
    lines = []
    for key in dependency.params:
        try:
            if reduce(getitem, key.split("."), tree) == locked.get(key, MISSING):
                continue
        except (KeyError, TypeError):
            lines.append(f"{key} deleted")
        else:
            lines.append(f"{key} modified" if key in locked else f"{key} new")
    return lines
