"""Get the raw files of a data set: the first edition that can be had, whole and verified.

For each edition, in the order of params.yaml, each file is what is there already, or comes from
what DVC keeps, from the mirror, or from its own address. Where no edition can be had, a machine
that never had one gets the built-in synthetic stand-in, with a warning that cannot be overlooked;
or an error, where that is not allowed.
"""

import functools
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from tqdm import tqdm

from foldwise.core import files, paths
from foldwise.core.config import SYNTHETIC, DataConfig, DatasetConfig, File
from foldwise.core.environment import MIRROR, Environment
from foldwise.core.errors import ConfigError, DataError, ReadError, masked
from foldwise.datasets import provenance, readers
from foldwise.datasets.provenance import Provenance, RawFile
from foldwise.datasets.transfer import Limits, Unavailable, is_address, keep, obtain

Kept = Callable[[Path], Iterator[bytes]]
RULE = "=" * 78


def download(
    name: str,
    dataset: DatasetConfig,
    data: DataConfig,
    folder: Path,
    environment: Environment,
    limits: Limits | None = None,
    kept: Kept | None = None,
) -> Provenance:
    """Get the first edition of a data set that can be had; provenance.json is written last.

    A file that is already in `folder` with the right checksum stays. Files of another edition
    are removed from it. The mirror of `environment` overrides that of `data`. `kept` gives what
    DVC has at a path.

    Raises:
        ConfigError: no module reads the data set, or the mirror is neither a folder nor a URL.
        DataError: nothing can be had.
        WriteError: `folder` cannot be written.
    """
    module = readers.module(name)  # an unknown name fails before anything is downloaded
    declared = {each for edition in dataset.editions.values() for each in edition.files}
    for each in declared:
        if Path(each).name != each or each == provenance.FILE:
            raise ConfigError(f"datasets.{name}: '{each}' is not a plain file name")
    mirror = mirror_of(data, environment)
    old = _start(folder)
    get = functools.partial(_get, old=old, kept=kept, mirror=mirror, limits=limits or Limits())
    label, tried = _real_edition(dataset, folder, get)
    if label:
        if tried:
            _say(f"{name}: using edition '{label}', as others cannot be had:", *tried)
        edition = dataset.editions[label].files
        facts = {
            each: RawFile(url=file.url and masked(file.url), sha256=file.sha256, size=file.size)
            for each, file in edition.items()
        }
    else:
        label = SYNTHETIC
        report = ["Tried:", *(tried or ["  nothing"]), *_remedy(name, dataset, mirror)]
        if why := _refusal(data, dataset, old if tried else None, folder):
            raise DataError("\n".join([f"{name}: no edition can be had{why}.", *report]))
        _say(*_warning(name, report if tried else []))
        facts = _stand_in(module, folder, dataset.editions[label].rows)
    result = Provenance(dataset=name, edition=label, synthetic=label == SYNTHETIC, files=facts)
    for each in (declared | set(old.files if old else ())) - set(facts):
        files.remove(folder / each)
    for path in folder.glob(".*"):  # of a download that was killed; DVC keeps the whole folder
        is_folder = path.is_dir() and not path.is_symlink()
        shutil.rmtree(path) if is_folder else files.remove(path)
    files.write_json(folder / provenance.FILE, result.model_dump(mode="json"))
    return result


def mirror_of(data: DataConfig, environment: Environment) -> str | None:
    """The folder or http(s) URL to try first, or None. The environment's wins, even an empty one.

    A relative folder is one of the project, also from the folder that DVC gives an experiment.

    Raises:
        ConfigError: it is an address of another kind.
    """
    chosen = data.mirror if environment.mirror is None else environment.mirror
    mirror = (chosen or "").strip()
    if not mirror or is_address(mirror):
        return mirror or None
    if "://" in mirror:
        raise ConfigError(f"mirror '{mirror}': neither a folder nor an http(s) address")
    return str(paths.home(Path()) / Path(mirror).expanduser())


def sources(name: str, file: File, mirror: str | None) -> list[str]:
    """Where to look for a file, in order: the mirror, then the file's own address.

    A mirror folder may hold it at its `mirror_path` or under its bare name.
    """
    own = [file.url] if file.url else []
    if mirror is None:
        return own
    if is_address(mirror):
        return [f"{mirror.rstrip('/')}/{quote(file.mirror_path)}", *own]
    folder = Path(mirror)
    return [*dict.fromkeys([str(folder / file.mirror_path), str(folder / name)]), *own]


def _real_edition(
    dataset: DatasetConfig, folder: Path, get: Callable[[Path, File], None]
) -> tuple[str, list[str]]:
    """The first edition that can be had, "" for none, and why those before it cannot."""
    tried: list[str] = []
    for label, edition in dataset.editions.items():
        try:
            for name, file in edition.files.items():
                get(folder / name, file)
            if edition.files:
                return label, tried
        except Unavailable as reasons:
            tried.append(f"  {label}:\n{reasons}")
    return "", tried


def _get(
    target: Path,
    file: File,
    old: Provenance | None,
    kept: Kept | None,
    mirror: str | None,
    limits: Limits,
) -> None:
    """Have one file at `target`, from the first source that has it."""
    if target.is_file():
        if (actual := files.sha256(target)) == file.sha256:
            return None
        facts = old.files.get(target.name) if old else None
        if facts is None or facts.sha256 != actual:  # and no other edition's
            _say(f"{target}: corrupt (sha256 {actual}, expected {file.sha256}); fetching it again")
    reasons = []
    if kept is not None:
        try:
            return keep(kept(target), target, file, "what DVC keeps")
        except Unavailable as reason:
            reasons.append(f"    DVC's cache and remote: {reason}")
    for source in sources(target.name, file, mirror):
        try:
            return obtain(source, target, file, limits)
        except Unavailable as reason:
            reasons.append(f"    {source}: {reason}")
    raise Unavailable("\n".join(reasons or [f"    {target.name}: no mirror and no address"]))


def _stand_in(module: readers.DatasetModule, folder: Path, rows: int) -> dict[str, RawFile]:
    """Write the stand-in aside, then move its files into the folder."""
    facts = {}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".synthetic-") as aside:
        module.synthesize(Path(aside), rows)
        for path in sorted(Path(aside).iterdir()):
            size = path.stat().st_size
            facts[path.name] = RawFile(url=None, sha256=files.sha256(path), size=size)
            path.replace(folder / path.name)
    return facts


def _start(folder: Path) -> Provenance | None:
    """Make `folder` and see that it can be written; what is in it, if that is known.

    Its provenance.json stays until there is another: whoever reads it checks the files, too.
    """
    files.refuse_links(folder)
    files.check_room(folder, 0)
    try:
        old = provenance.read(folder)
    except ReadError:
        return None  # a new folder; or damaged: it says nothing about the files beside it
    return None if any(Path(name).name != name for name in old.files) else old


# --- messages ---------------------------------------------------------------------------------


def _say(*lines: str) -> None:
    """Write to standard error, above any progress bar."""
    tqdm.write(masked("\n".join(lines)), file=sys.stderr)


def _warning(name: str, report: list[str]) -> list[str]:
    if not report:
        return [f"{name}: synthetic data, as params.yaml asks; they say nothing about the real"]
    return [
        RULE,
        f"WARNING: {name} is SYNTHETIC: no real edition can be had. The built-in stand-in takes",
        f"its place; everything computed from it is marked, and says nothing about {name}.",
        *report,
        RULE,
    ]


def _refusal(data: DataConfig, dataset: DatasetConfig, old: Provenance | None, folder: Path) -> str:
    """Why the stand-in cannot take the place of real data; "" where it can."""
    if SYNTHETIC not in dataset.editions:
        return "; params.yaml declares no synthetic one"
    if not data.allow_synthetic:
        return "; data.allow_synthetic is false"
    if old is not None and not old.synthetic:
        return (
            f" any more; edition '{old.edition}' was here, and the synthetic stand-in never takes "
            f"the place of real data (delete {folder} to have it)"
        )
    return ""


def _remedy(name: str, dataset: DatasetConfig, mirror: str | None) -> list[str]:
    """Where to put which file."""
    root = mirror if mirror and not is_address(mirror) else "MIRROR"
    lines = [
        "To use the real data, put the files of one edition here and download again",
        f"(dvc repro --force download@{name}). The folder is `data.mirror` in params.yaml,",
        f"or {MIRROR} in the environment:",
    ]
    for label, edition in dataset.editions.items():
        for each, file in edition.files.items():
            lines += [f"  {label}: {Path(root, file.mirror_path)}"]
            lines += [f"    ({each}, {file.size:,} bytes)", f"    sha256 {file.sha256}"]
    return lines
