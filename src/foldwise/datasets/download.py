"""Gets the raw files of a data set: the first edition that can be had, whole and verified.

For each edition, in the order of params.yaml, each file comes from the mirror or else from its
own address. When no edition can be had, the built-in synthetic stand-in takes its place, with a
warning that cannot be overlooked; or an error, where it is not allowed.
"""

import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

from tqdm import tqdm

from foldwise.core.config import SYNTHETIC, DataConfig, DatasetConfig, Edition, File
from foldwise.core.errors import ConfigError, DataError
from foldwise.datasets import provenance
from foldwise.datasets import readers as registry
from foldwise.datasets.prepared import unwritable
from foldwise.datasets.provenance import Provenance, RawFile, sha256
from foldwise.datasets.transfer import Limits, Unavailable, is_address, obtain

MIRROR = "FOLDWISE_MIRROR"


def fetch(
    name: str,
    dataset: DatasetConfig,
    data: DataConfig,
    folder: Path,
    *,
    environ: Mapping[str, str],
    limits: Limits | None = None,
) -> Provenance:
    """Get the first edition of a data set that can be had; provenance.json is written last.

    A file that is already in `folder` with the right checksum is kept.

    Args:
        name: the data set's key in params.yaml.
        dataset: its editions.
        data: the mirror, and whether the synthetic stand-in is allowed.
        folder: where the files go. Files of another edition are removed from it.
        environ: FOLDWISE_MIRROR in it overrides `data.mirror`.
        limits: what bounds each download.

    Raises:
        ConfigError: there is no such data set, or the mirror is neither a folder nor a URL.
        DataError: nothing can be had, or `folder` cannot be written.
    """
    _check_names(name, dataset)
    registry.module(name)  # an unknown name fails before anything is downloaded
    mirror = mirror_of(data, environ)
    old = _start(folder)
    found = _first(name, dataset, data, folder, mirror, limits or Limits())
    _remove(folder, (old | declared(dataset)) - set(found.files))
    provenance.write(folder, found)
    return found


def mirror_of(data: DataConfig, environ: Mapping[str, str]) -> str | None:
    """The folder or http(s) URL to try first, or None. FOLDWISE_MIRROR wins if it is set.

    Raises:
        ConfigError: it is an address of another kind.
    """
    mirror = environ.get(MIRROR, data.mirror or "").strip()
    if "://" in mirror and not is_address(mirror):
        raise ConfigError(f"mirror '{mirror}': neither a folder nor an http(s) address")
    return mirror or None


def declared(dataset: DatasetConfig) -> set[str]:
    """The names of all files of all editions."""
    return {name for edition in dataset.editions.values() for name in edition.files}


# --- editions ---------------------------------------------------------------------------------


def _first(
    name: str,
    dataset: DatasetConfig,
    data: DataConfig,
    folder: Path,
    mirror: str | None,
    limits: Limits,
) -> Provenance:
    """The first edition that can be had, its files in `folder`."""
    tried: list[str] = []
    for label, edition in dataset.editions.items():
        if label == SYNTHETIC:
            if data.allow_synthetic:
                _say(_synthetic_warning(name, dataset, mirror, tried))
                return _synthesize(name, edition, folder)
            continue
        try:
            found = _edition(name, label, edition, folder, mirror, limits)
        except Unavailable as reasons:
            tried.append(f"  {label}:\n{reasons}")
            continue
        if tried:
            _say(f"{name}: using edition '{label}', as others cannot be had:\n" + "\n".join(tried))
        return found
    raise DataError(_refusal(name, dataset, data, mirror, tried))


def _edition(
    name: str, label: str, edition: Edition, folder: Path, mirror: str | None, limits: Limits
) -> Provenance:
    for file_name, file in edition.files.items():
        _file(folder / file_name, file, mirror, limits)
    files = {n: RawFile(f.url, f.sha256, f.size) for n, f in edition.files.items()}
    return Provenance(name, label, synthetic=False, files=files)


def _file(target: Path, file: File, mirror: str | None, limits: Limits) -> None:
    """Put one file at `target` from the first source that has it."""
    if _intact(target, file):
        return
    reasons = []
    for source in sources(target.name, file, mirror):
        try:
            obtain(source, target, file, limits)
        except Unavailable as reason:
            reasons.append(f"    {source}: {reason}")
        else:
            return
    raise Unavailable("\n".join(reasons or [f"    {target.name}: no mirror and no address"]))


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


def _synthesize(name: str, edition: Edition, folder: Path) -> Provenance:
    """Write the stand-in aside, then move its files into `folder`."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".synthetic-") as aside:
        registry.module(name).synthesize(Path(aside), edition.rows)
        files = {path.name: path for path in sorted(Path(aside).iterdir())}
        facts = {n: RawFile(None, sha256(p), p.stat().st_size) for n, p in files.items()}
        for file_name, path in files.items():
            path.replace(folder / file_name)
    return Provenance(name, SYNTHETIC, synthetic=True, files=facts)


# --- the folder -------------------------------------------------------------------------------


def _check_names(name: str, dataset: DatasetConfig) -> None:
    for file_name in declared(dataset):
        if Path(file_name).name != file_name or file_name == provenance.FILE:
            raise ConfigError(f"datasets.{name}: '{file_name}' is not a plain file name")


def _start(folder: Path) -> set[str]:
    """Make `folder`, see that it can be written, and take back the old provenance.json.

    Returns the names of the files that it listed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        old = set(provenance.load(folder).files) if (folder / provenance.FILE).exists() else set()
    except DataError:
        old = set()  # damaged: it says nothing about the files beside it
    except OSError as error:
        raise unwritable(folder, error) from error
    _remove(folder, {provenance.FILE})
    return {name for name in old if Path(name).name == name}


def _intact(target: Path, file: File) -> bool:
    if not target.is_file():
        return False
    found = sha256(target)
    if found != file.sha256:
        _say(f"{target}: corrupt (sha256 {found}, expected {file.sha256}); fetching it again")
    return found == file.sha256


def _remove(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)


# --- messages ---------------------------------------------------------------------------------


def _say(text: str) -> None:
    """Write to standard error, above any progress bar."""
    tqdm.write(text, file=sys.stderr)


def _synthetic_warning(
    name: str, dataset: DatasetConfig, mirror: str | None, tried: list[str]
) -> str:
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
        _remedy(name, dataset, mirror),
        rule,
    ]
    return "\n".join(lines)


def _refusal(
    name: str, dataset: DatasetConfig, data: DataConfig, mirror: str | None, tried: list[str]
) -> str:
    refused = SYNTHETIC in dataset.editions and not data.allow_synthetic
    why = "; data.allow_synthetic is false" if refused else ""
    lines = [f"{name}: no edition can be had{why}.", "Tried:", *(tried or ["  nothing"])]
    return "\n".join([*lines, _remedy(name, dataset, mirror)])


def _remedy(name: str, dataset: DatasetConfig, mirror: str | None) -> str:
    """Where to put which file."""
    root = mirror if mirror and not is_address(mirror) else "MIRROR"
    lines = [
        "To use the real data, put the files of one edition here and download again",
        f"(dvc repro --force download@{name}). The folder is `data.mirror` in params.yaml,",
        f"or {MIRROR} in the environment:",
    ]
    for label, edition in dataset.editions.items():
        for file_name, file in edition.files.items():
            place = Path(root, file.mirror_path)
            lines += [f"  {label}: {place}", f"    ({file_name}, {file.size:,} bytes)"]
            lines += [f"    sha256 {file.sha256}"]
    return "\n".join(lines)
