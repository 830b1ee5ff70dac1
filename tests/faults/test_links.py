"""Links are not followed when something is written or removed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from builders import dataset

from foldwise.core import config, files, paths
from foldwise.core.config import DataConfig
from foldwise.core.environment import Environment
from foldwise.core.errors import WriteError
from foldwise.datasets import prepared
from foldwise.datasets.download import download
from foldwise.engine.store import Store, pack

SONAR = config.parse(
    (Path(__file__).parents[2] / "src/foldwise/demo/params.yaml").read_text()
).dataset("sonar")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody's folder, with the files that a project might replace; we are in a project."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    folder = tmp_path / "elsewhere"
    for name in ("sonar.all-data", "provenance.json", "meta.json", "table.parquet", "mine"):
        files.write_text(folder / name, "mine")
    return folder


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def download_sonar() -> None:
    download("sonar", SONAR, DataConfig(), paths.raw("sonar"), Environment())


def prepare() -> None:
    prepared.save(dataset(), paths.prepared("sonar"))


def split() -> None:
    files.write_text(paths.splits("table"), "new")


WORK = {"raw": download_sonar, "prepared": prepare, "splits": split}


@pytest.mark.parametrize(
    ("link", "part"),
    [
        ("data/raw/sonar", "raw"),
        ("data/raw", "raw"),
        ("data/prepared/sonar", "prepared"),
        ("data/prepared", "prepared"),
        ("data/splits", "splits"),
    ],
)
def test_a_folder_that_is_a_link_is_refused(link: str, part: str, elsewhere: Path) -> None:
    before = content(elsewhere)
    Path(link).parent.mkdir(parents=True)
    Path(link).symlink_to(elsewhere)
    with pytest.raises(WriteError, match=rf"{link}: a link to .*elsewhere"):
        WORK[part]()
    assert content(elsewhere) == before


@pytest.mark.parametrize(
    ("link", "target", "work"),
    [
        ("data/raw/sonar/sonar.all-data", "sonar.all-data", download_sonar),
        ("data/raw/sonar/provenance.json", "provenance.json", download_sonar),
        ("data/prepared/sonar/meta.json", "meta.json", prepare),
        ("data/splits/table.parquet", "table.parquet", split),
    ],
)
def test_a_file_that_is_a_link_is_replaced(
    link: str, target: str, work: Callable[[], None], elsewhere: Path
) -> None:
    """As with DVC's cache of type symlink."""
    before = content(elsewhere)
    Path(link).parent.mkdir(parents=True)
    Path(link).symlink_to(elsewhere / target)
    work()
    assert content(elsewhere) == before
    assert Path(link).is_file()
    assert not Path(link).is_symlink()


def test_data_itself_may_be_on_another_disk(elsewhere: Path) -> None:
    disk = elsewhere.parent / "disk"
    disk.mkdir()
    Path("data").symlink_to(disk)
    download_sonar()
    assert (disk / "raw/sonar/provenance.json").is_file()


def test_the_store_of_trained_splits_removes_its_own_files_alone(elsewhere: Path) -> None:
    store = Store(Path())
    key = "ab" * 32
    files.write_bytes(store.folder / "ab" / key, pack({}, {}))
    (store.folder / "cd").symlink_to(elsewhere)
    shutil.copy(elsewhere / "mine", store.folder / "ab" / "mine")
    store.clear()
    assert not store.has(key)
    assert (elsewhere / "mine").is_file()
    assert (store.folder / "ab" / "mine").is_file()
