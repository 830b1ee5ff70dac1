"""What the project holds at a commit: files of git and of DVC, read without a checkout."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dvc.api import DVCFileSystem
from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException
from dvc.fs import GitFileSystem
from dvc.repo import Repo
from dvc.scm import SCM, Git, SCMError, resolve_rev

from foldwise.core import config, git, paths
from foldwise.core.config import Config
from foldwise.core.errors import ComparisonError, ConfigError, GitError, MissingError, ReadError

WORKSPACE = "workspace"
EMPTY = "empty, perhaps a variable that is not set"
LOCK = "dvc.lock"


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
    def settings(self) -> Config:
        """Its params.yaml.

        Raises:
            ConfigError: it has none, or one that this foldwise does not read.
        """
        source = f"{paths.PARAMS} of {self.name}"
        try:
            text = self.files.read_text(str(paths.PARAMS), encoding="utf-8")
        except (OSError, DvcException) as error:
            raise ConfigError(f"{source}: cannot be read ({error})") from None
        return config.validated(config.read_yaml(text, source), source)

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
        found = [one for one in self.files.repo.index.stages if getattr(one, "name", "") == stage]
        lines = []
        for dependency in (each for one in found for each in one.deps):
            if isinstance(dependency, ParamsDependency):
                for change in dependency.status().values():
                    named = change if isinstance(change, dict) else {paths.PARAMS: change}
                    lines += [f"{key} {how}" for key, how in named.items()]
        return lines


@contextmanager
def opened(revision: str | None, root: Path = Path()) -> Iterator[Snapshot]:
    """The workspace (None), or a commit, tag, branch or DVC experiment of the project in `root`.

    Raises:
        ComparisonError: no such revision, or the project is in no git repository.
        ReadError: DVC cannot read its own files there.
    """
    name = WORKSPACE if revision is None else revision
    try:
        with Repo(str(root), uninitialized=True) as workspace:
            if revision is None:
                yield Snapshot(name, None, DVCFileSystem(workspace))
                return
            # Cache and remote are the workspace's: an older commit may name others, or none yet,
            # and relative to a folder that is none.
            mine = {key: dict(workspace.config[key]) for key in ("cache", "core", "remote")}
        with _git(revision, root) as scm:
            tree = GitFileSystem(scm=scm, rev=revision)
            folder = root.resolve().relative_to(Path(scm.root_dir).resolve())
            at = f"/{folder.as_posix()}"
            with Repo(at, fs=tree, scm=scm, config=mine, uninitialized=True) as repo:
                yield Snapshot(name, tree.rev, DVCFileSystem(repo))
    except DvcException as error:
        raise ReadError(f"{name}: DVC cannot read its files there: {error}") from None


@contextmanager
def _git(revision: str, root: Path) -> Iterator[Git]:
    """DVC's access to git, which has the revision."""
    if not revision.strip():
        raise _unknown(revision, EMPTY, root)
    try:
        with closing(SCM(str(root.resolve()))) as scm:
            resolve_rev(scm, revision)
            yield scm
    except SCMError as error:
        raise _unknown(revision, error, root) from None


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
    if not revision.strip(" ."):  # git takes each side that is left out for HEAD
        raise _unknown(revision, EMPTY, root)
    if ".." not in revision:
        with _git(revision, root) as scm:
            return [resolve_rev(scm, revision)]
    try:
        order = ("--reverse", "--topo-order", "--end-of-options")
        return git.run(root, "rev-list", *order, revision, "--").split()
    except GitError as error:
        raise _unknown(revision, error, root) from None


def _unknown(revision: str, reason: object, root: Path) -> ComparisonError:
    remedy = "`git fetch` brings what a remote has, `dvc exp list` names experiments"
    if git.ask(root, "rev-parse", "--is-shallow-repository") == "true":
        remedy = "this clone is shallow, `git fetch --unshallow` brings the commits that it lacks"
    return ComparisonError(
        f"--rev {revision}: {reason}; it must be a commit, tag, branch or DVC experiment of this "
        f"repository: {remedy}"
    )
