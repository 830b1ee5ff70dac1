"""Get the raw files of a data set: the first edition that can be had, whole and verified.

For each edition, in the order of params.yaml, each file comes from the mirror or else from its
own address. When no edition can be had, the built-in synthetic stand-in takes its place, with a
warning that cannot be overlooked; or an error, where it is not allowed.
"""

import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tqdm import tqdm

from foldwise.core import files
from foldwise.core.config import SYNTHETIC, DataConfig, DatasetConfig, Edition, File
from foldwise.core.environment import MIRROR, Environment
from foldwise.core.errors import ConfigError, DataError, ReadError
from foldwise.datasets import provenance, readers
from foldwise.datasets.provenance import Provenance, RawFile
from foldwise.datasets.transfer import Limits, Unavailable, is_address, obtain


@dataclass(frozen=True)
class _Job:
    """What `download` is asked for."""

    name: str
    dataset: DatasetConfig
    allow_synthetic: bool
    folder: Path
    mirror: str | None
    limits: Limits


def download(
    name: str,
    dataset: DatasetConfig,
    data: DataConfig,
    folder: Path,
    environment: Environment,
    limits: Limits | None = None,
) -> Provenance:
    """Get the first edition of a data set that can be had; provenance.json is written last.

    A file that is already in `folder` with the right checksum is kept. Files of another edition
    are removed from it.

    Args:
        name: the data set's key in params.yaml.
        dataset: its editions.
        data: the mirror, and whether the synthetic stand-in is allowed.
        folder: where the files go.
        environment: its mirror overrides `data.mirror`.
        limits: what bounds each transfer.

    Raises:
        ConfigError: there is no such data set, or the mirror is neither a folder nor a URL.
        DataError: nothing can be had.
        WriteError: `folder` cannot be written.
    """
    _check_names(name, dataset)
    readers.module(name)  # an unknown name fails before anything is downloaded
    mirror = mirror_of(data, environment)
    old = _start(folder)
    job = _Job(name, dataset, data.allow_synthetic, folder, mirror, limits or Limits())
    result = _first_edition(job)
    _remove(folder, (old | declared(dataset)) - set(result.files))
    provenance.write(folder, result)
    return result


def mirror_of(data: DataConfig, environment: Environment) -> str | None:
    """The folder or http(s) URL to try first, or None. The environment's wins, even an empty one.

    Raises:
        ConfigError: it is an address of another kind.
    """
    chosen = data.mirror if environment.mirror is None else environment.mirror
    mirror = (chosen or "").strip()
    if "://" in mirror and not is_address(mirror):
        raise ConfigError(f"mirror '{mirror}': neither a folder nor an http(s) address")
    return mirror or None


def declared(dataset: DatasetConfig) -> set[str]:
    """The names of all files of all editions."""
    return {name for edition in dataset.editions.values() for name in edition.files}


# --- editions ---------------------------------------------------------------------------------


def _first_edition(job: _Job) -> Provenance:
    """The first edition that can be had, its files in the job's folder."""
    tried: list[str] = []
    for label, edition in job.dataset.editions.items():
        if label == SYNTHETIC:
            if job.allow_synthetic:
                _say(_synthetic_warning(job, tried))
                return _synthesize(job, edition)
            continue
        try:
            result = _edition(job, label, edition)
        except Unavailable as reasons:
            tried.append(f"  {label}:\n{reasons}")
            continue
        if tried:
            _say(f"{job.name}: using edition '{label}', as others cannot be had:", *tried)
        return result
    raise DataError(_refusal(job, tried))


def _edition(job: _Job, label: str, edition: Edition) -> Provenance:
    for name, file in edition.files.items():
        _get(job, name, file)
    facts = {n: RawFile(url=f.url, sha256=f.sha256, size=f.size) for n, f in edition.files.items()}
    return Provenance(dataset=job.name, edition=label, synthetic=False, files=facts)


def _get(job: _Job, name: str, file: File) -> None:
    """Put one file into the folder, from the first source that has it."""
    target = job.folder / name
    if _intact(target, file):
        return
    reasons = []
    for source in sources(name, file, job.mirror):
        try:
            obtain(source, target, file, job.limits)
        except Unavailable as reason:
            reasons.append(f"    {source}: {reason}")
        else:
            return
    raise Unavailable("\n".join(reasons or [f"    {name}: no mirror and no address"]))


def sources(name: str, file: File, mirror: str | None) -> list[str]:
    """Where to look for a file, in order: the mirror, then the file's own address.

    A mirror folder may hold it at its `mirror_path` or under its bare name.
    """
    own = [file.url] if file.url else []
    if mirror is None:
        return own
    if is_address(mirror):
        return [f"{mirror.rstrip('/')}/{quote(file.mirror_path)}", *own]
    folder = Path(mirror).expanduser()
    return [*dict.fromkeys([str(folder / file.mirror_path), str(folder / name)]), *own]


def _synthesize(job: _Job, edition: Edition) -> Provenance:
    """Write the stand-in aside, then move its files into the folder."""
    with tempfile.TemporaryDirectory(dir=job.folder, prefix=".synthetic-") as aside:
        readers.module(job.name).synthesize(Path(aside), edition.rows)
        made = sorted(Path(aside).iterdir())
        facts = {
            path.name: RawFile(url=None, sha256=files.sha256(path), size=path.stat().st_size)
            for path in made
        }
        for path in made:
            path.replace(job.folder / path.name)
    return Provenance(dataset=job.name, edition=SYNTHETIC, synthetic=True, files=facts)


# --- the folder -------------------------------------------------------------------------------


def _check_names(name: str, dataset: DatasetConfig) -> None:
    for file_name in declared(dataset):
        if Path(file_name).name != file_name or file_name == provenance.FILE:
            raise ConfigError(f"datasets.{name}: '{file_name}' is not a plain file name")


def _start(folder: Path) -> set[str]:
    """Make `folder`, see that it can be written, and take back the old provenance.json.

    Returns the names of the files that it listed.
    """
    files.refuse_links(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise files.unwritable(folder, error) from error
    try:
        old = set(provenance.read(folder).files)
    except ReadError:
        old = set()  # a new folder; or damaged: it says nothing about the files beside it
    _remove(folder, {provenance.FILE})
    return {name for name in old if Path(name).name == name}


def _intact(target: Path, file: File) -> bool:
    if not target.is_file():
        return False
    actual = files.sha256(target)
    if actual != file.sha256:
        _say(f"{target}: corrupt (sha256 {actual}, expected {file.sha256}); fetching it again")
    return actual == file.sha256


def _remove(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)


# --- messages ---------------------------------------------------------------------------------


def _say(*lines: str) -> None:
    """Write to standard error, above any progress bar."""
    tqdm.write("\n".join(lines), file=sys.stderr)


def _synthetic_warning(job: _Job, tried: list[str]) -> str:
    name = job.name
    if not tried:
        return f"{name}: synthetic data, as params.yaml asks; results say nothing about the real."
    rule = "=" * 78
    lines = [
        rule,
        f"WARNING: {name} is SYNTHETIC: no real edition can be had.",
        "The built-in stand-in takes its place. Everything computed from it is marked",
        f"synthetic and says nothing about {name}.",
        "",
        "Tried:",
        *tried,
        "",
        _remedy(job),
        rule,
    ]
    return "\n".join(lines)


def _refusal(job: _Job, tried: list[str]) -> str:
    refused = SYNTHETIC in job.dataset.editions and not job.allow_synthetic
    why = "; data.allow_synthetic is false" if refused else ""
    lines = [f"{job.name}: no edition can be had{why}.", "Tried:", *(tried or ["  nothing"])]
    return "\n".join([*lines, _remedy(job)])


def _remedy(job: _Job) -> str:
    """Where to put which file."""
    root = job.mirror if job.mirror and not is_address(job.mirror) else "MIRROR"
    lines = [
        "To use the real data, put the files of one edition here and download again",
        f"(dvc repro --force download@{job.name}). The folder is `data.mirror` in params.yaml,",
        f"or {MIRROR} in the environment:",
    ]
    for label, edition in job.dataset.editions.items():
        for name, file in edition.files.items():
            lines += [f"  {label}: {Path(root, file.mirror_path)}"]
            lines += [f"    ({name}, {file.size:,} bytes)", f"    sha256 {file.sha256}"]
    return "\n".join(lines)
