"""Editions, mirrors and the synthetic fallback. `sonar` stands for any data set."""

import json
import shutil
from pathlib import Path

import pytest

from foldwise.core import config
from foldwise.core.config import DataConfig, DatasetConfig, Edition
from foldwise.core.environment import Environment
from foldwise.core.errors import ConfigError, DamagedError, DataError, MissingError, WriteError
from foldwise.datasets import provenance
from foldwise.datasets.download import download, mirror_of, sources
from foldwise.datasets.transfer import Limits, Unavailable

ROOT = Path(__file__).resolve().parents[2]
QUICK = Limits(patience=10, backoff=0.01, connect=2)
FIRST, SECOND = b"first edition", b"second edition"
NOWHERE = "https://host.org/first.bin"


@pytest.fixture
def first(http):
    return http.file(FIRST, "a/first.bin")


@pytest.fixture
def dataset(http, first):
    second = http.file(SECOND, "b/second.bin")
    return DatasetConfig(
        editions={
            "best": Edition(rows=8, files={"first.bin": first}),
            "lossy": Edition(rows=8, files={"second.bin": second}),
            "synthetic": Edition(rows=20),
        }
    )


@pytest.fixture
def raw(tmp_path):
    return tmp_path / "raw" / "sonar"


@pytest.fixture
def mirror(tmp_path):
    folder = tmp_path / "mirror"
    folder.mkdir()
    return folder


def get(dataset, raw, mirror=None, allow_synthetic=True, override=None, kept=None):
    """`mirror` as params.yaml has it, `override` as the environment does."""
    where = None if mirror is None else str(mirror)
    data = DataConfig(mirror=where, allow_synthetic=allow_synthetic)
    return download("sonar", dataset, data, raw, Environment(mirror=override), QUICK, kept)


def put(mirror: Path, path: str, content: bytes) -> None:
    (mirror / path).parent.mkdir(parents=True, exist_ok=True)
    (mirror / path).write_bytes(content)


def names(raw: Path) -> list[str]:
    return sorted(path.name for path in raw.iterdir())


# --- order and precedence ---------------------------------------------------------------------


def test_first_edition_that_can_be_had_wins(dataset, raw, mirror, capsys):
    put(mirror, "a/first.bin", FIRST)
    put(mirror, "b/second.bin", SECOND)
    assert get(dataset, raw, mirror).edition == "best"
    assert names(raw) == ["first.bin", "provenance.json"]
    assert capsys.readouterr().err == ""


def test_next_edition_when_the_first_cannot_be_had(dataset, raw, mirror, capsys):
    put(mirror, "a/first.bin", FIRST[:-1] + b"?")
    put(mirror, "b/second.bin", SECOND)
    found = get(dataset, raw, mirror)
    assert (found.edition, found.synthetic) == ("lossy", False)
    assert names(raw) == ["provenance.json", "second.bin"]
    said = capsys.readouterr().err
    assert "using edition 'lossy'" in said
    assert "not the file" in said


def test_edition_with_a_file_missing_is_not_taken(http, first, raw, mirror):
    files = {"first.bin": first, "more.bin": http.file(SECOND, "a/more.bin")}
    dataset = DatasetConfig(
        editions={"whole": Edition(rows=8, files=files), "synthetic": Edition(rows=20)}
    )
    put(mirror, "a/first.bin", FIRST)
    assert get(dataset, raw, mirror).edition == "synthetic"
    assert "first.bin" not in names(raw)  # a leftover of the edition that was given up


def test_mirror_folder_may_hold_the_bare_name(dataset, raw, mirror):
    put(mirror, "first.bin", FIRST)
    assert get(dataset, raw, mirror).edition == "best"


def test_mirror_from_the_environment_overrides_params(dataset, raw, mirror, web, http):
    put(mirror, "a/first.bin", FIRST)
    web.routes["/base/b/second.bin"] = http.body(SECOND)
    found = get(dataset, raw, mirror, override=f"{web.address}/base/")
    assert found.edition == "lossy"
    assert web.hits["/base/a/first.bin"] == 1  # asked first, answered 404


def test_sources_in_order(http):
    file = http.file(FIRST, "a b/first.bin", url="https://host.org/first.bin")
    assert sources("first.bin", file, None) == ["https://host.org/first.bin"]
    assert sources("first.bin", file, "/m") == [
        "/m/a b/first.bin",
        "/m/first.bin",
        "https://host.org/first.bin",
    ]
    assert sources("first.bin", file, "http://m/x/") == [
        "http://m/x/a%20b/first.bin",
        "https://host.org/first.bin",
    ]


def test_mirror_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = str(tmp_path)
    assert mirror_of(DataConfig(mirror="m"), Environment()) == f"{here}/m"
    assert mirror_of(DataConfig(mirror="m"), Environment(mirror="/n")) == "/n"
    assert mirror_of(DataConfig(mirror="m"), Environment(mirror="http://n")) == "http://n"
    assert mirror_of(DataConfig(mirror="m"), Environment(mirror="")) is None
    assert mirror_of(DataConfig(), Environment()) is None
    for bad in ("ftp://m", "http://[m"):
        with pytest.raises(ConfigError, match="neither a folder nor"):
            mirror_of(DataConfig(mirror=bad), Environment())


def test_a_relative_mirror_is_the_projects_also_in_an_experiments_folder(tmp_path, monkeypatch):
    inside = tmp_path / ".dvc/tmp/exps/standalone/tmpabc"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    assert mirror_of(DataConfig(mirror="../m"), Environment()) == f"{tmp_path}/../m"
    assert mirror_of(DataConfig(), Environment(mirror="m")) == f"{tmp_path}/m"


# --- files that are there ---------------------------------------------------------------------


def test_intact_file_is_kept(dataset, raw, mirror):
    put(mirror, "a/first.bin", FIRST)
    get(dataset, raw, mirror)
    (mirror / "a/first.bin").unlink()
    before = (raw / "first.bin").stat()
    assert get(dataset, raw, mirror).edition == "best"
    assert (raw / "first.bin").stat().st_mtime_ns == before.st_mtime_ns


def test_corrupt_file_is_said_and_fetched_again(dataset, raw, mirror, capsys):
    put(mirror, "a/first.bin", FIRST)
    put(raw, "first.bin", b"rotten")
    assert get(dataset, raw, mirror).edition == "best"
    assert (raw / "first.bin").read_bytes() == FIRST
    assert "first.bin: corrupt" in capsys.readouterr().err


def test_change_of_edition_leaves_no_other_file(dataset, raw, mirror):
    get(dataset, raw)  # synthetic
    assert names(raw) == ["provenance.json", "sonar.all-data"]
    put(mirror, "b/second.bin", SECOND)
    get(dataset, raw, mirror)
    assert names(raw) == ["provenance.json", "second.bin"]


def test_a_stand_in_s_file_is_not_called_corrupt(http, raw, mirror, capsys):
    """Though the real one has the same name."""
    files = {"sonar.all-data": http.file(FIRST, "f")}
    editions = {"best": Edition(rows=8, files=files), "synthetic": Edition(rows=20)}
    get(DatasetConfig(editions=editions), raw, mirror)
    get(DatasetConfig(editions=editions), raw, mirror)
    put(mirror, "f", FIRST)
    assert get(DatasetConfig(editions=editions), raw, mirror).edition == "best"
    assert "corrupt" not in capsys.readouterr().err


def test_failure_leaves_nothing_that_would_be_read(dataset, raw, mirror):
    put(mirror, "a/first.bin", FIRST)
    get(dataset, raw, mirror)
    put(raw, "first.bin", b"rotten")
    (mirror / "a/first.bin").unlink()
    with pytest.raises(DataError):
        get(dataset, raw, mirror, allow_synthetic=False)
    with pytest.raises(DamagedError, match=r"first\.bin: sha256"):
        provenance.verify(raw)


# --- what DVC keeps ---------------------------------------------------------------------------


def keeping(**contents):
    """What DVC would give of `first_bin=...`."""

    def kept(path):
        if (content := contents.get(path.name.replace(".", "_"))) is None:
            raise Unavailable("dvc.lock does not name it")
        yield content

    return kept


def test_what_dvc_keeps_comes_before_any_address(dataset, raw, web, http):
    web.routes["/a/first.bin"] = http.body(FIRST)
    found = get(dataset, raw, override=web.address, kept=keeping(first_bin=FIRST))
    assert found.edition == "best"
    assert (raw / "first.bin").read_bytes() == FIRST
    assert not web.hits


def test_what_dvc_keeps_is_checked(dataset, raw, mirror, capsys):
    put(mirror, "a/first.bin", FIRST)
    assert get(dataset, raw, mirror, kept=keeping(first_bin=b"rotten")).edition == "best"
    assert (raw / "first.bin").read_bytes() == FIRST
    assert capsys.readouterr().err == ""


def test_a_lesser_edition_that_dvc_keeps_comes_before_the_stand_in(dataset, raw, capsys):
    assert get(dataset, raw, kept=keeping(second_bin=SECOND)).edition == "lossy"
    assert "DVC's cache and remote: dvc.lock does not name it" in capsys.readouterr().err


def test_the_stand_in_never_takes_the_place_of_real_data(dataset, raw, mirror):
    put(mirror, "a/first.bin", FIRST)
    get(dataset, raw, mirror)
    (mirror / "a/first.bin").unlink()
    put(raw, "first.bin", b"rotten")
    for _ in range(2):
        with pytest.raises(DataError, match=f"edition 'best' was here.*delete {raw} to have it"):
            get(dataset, raw, mirror)
        assert provenance.read(raw).edition == "best"
    shutil.rmtree(raw)
    assert get(dataset, raw, mirror).synthetic


def test_what_a_killed_download_left_is_no_data(dataset, raw, mirror):
    put(raw, ".first.bin.abcdefgh", b"half")
    put(raw, ".synthetic-abcdefgh/sonar.all-data", b"half")
    put(mirror, "a/first.bin", FIRST)
    get(dataset, raw, mirror)
    assert names(raw) == ["first.bin", "provenance.json"]


def test_folder_that_cannot_be_made_is_named(dataset, tmp_path, mirror, web):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"file/sonar: cannot be written"):
        get(dataset, tmp_path / "file" / "sonar", override=web.address)
    assert not web.hits  # before any work


def test_file_name_that_leaves_the_folder_is_refused(http, raw):
    file = http.file(FIRST)
    dataset = DatasetConfig(editions={"best": Edition(rows=8, files={"../x": file})})
    with pytest.raises(ConfigError, match=r"'\.\./x' is not a plain file name"):
        get(dataset, raw)


# --- provenance -------------------------------------------------------------------------------


def test_provenance_is_the_same_wherever_the_bytes_came_from(
    dataset, raw, mirror, tmp_path, web, http
):
    put(mirror, "a/first.bin", FIRST)
    web.routes["/a/first.bin"] = http.body(FIRST)
    get(dataset, raw, mirror)
    get(dataset, tmp_path / "other", override=web.address)
    text = (raw / provenance.FILE).read_text()
    assert text == (tmp_path / "other" / provenance.FILE).read_text()
    assert str(tmp_path) not in text
    tree = json.loads(text)
    assert list(tree) == ["dataset", "edition", "files", "synthetic"]
    assert tree["files"]["first.bin"]["size"] == len(FIRST)
    assert provenance.verify(raw) == provenance.read(raw)


def test_changed_file_is_named(dataset, raw, mirror):
    put(mirror, "a/first.bin", FIRST)
    get(dataset, raw, mirror)
    (raw / "first.bin").write_bytes(FIRST[::-1])
    with pytest.raises(DamagedError, match=r"first\.bin: sha256 .* downloaded as"):
        provenance.verify(raw)
    (raw / "first.bin").unlink()
    with pytest.raises(MissingError, match=r"first\.bin: not there"):
        provenance.verify(raw)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"files": 1}', '{"files": {"a": 1}}'])
def test_damaged_provenance_is_named_and_then_replaced(dataset, raw, mirror, text):
    put(raw, provenance.FILE, text.encode())
    with pytest.raises(DamagedError, match=r"provenance\.json: damaged"):
        provenance.read(raw)
    put(mirror, "a/first.bin", FIRST)
    get(dataset, raw, mirror)
    assert provenance.read(raw).edition == "best"


# --- synthetic --------------------------------------------------------------------------------


def test_synthetic_warning_lists_what_was_tried_and_what_to_do(dataset, raw, mirror, capsys):
    found = get(dataset, raw, mirror)
    assert (found.edition, found.synthetic) == ("synthetic", True)
    assert found.files["sonar.all-data"].url is None
    said = capsys.readouterr().err
    assert "WARNING: sonar is SYNTHETIC" in said
    for edition, path in (("best", "a/first.bin"), ("lossy", "b/second.bin")):
        file = dataset.editions[edition].files[Path(path).name]
        assert f"{edition}: {mirror / path}" in said
        assert f"{mirror / path}: No such file" in said
        assert file.sha256 in said


def test_no_password_is_printed(http, raw, web, capsys):
    """Nor in a message, nor in provenance.json."""
    secret = web.address.replace("://", "://user:secret@")
    web.routes["/here/f"] = http.status(302, Location="ftp://me:secret@h/x?sig=secret")
    file = http.file(FIRST, "f", url="https://me:secret@127.0.0.1:1/f?token=secret")
    editions = {"best": Edition(rows=8, files={"f": file}), "synthetic": Edition(rows=20)}
    get(DatasetConfig(editions=editions), raw, override=f"{secret}/here")
    said = capsys.readouterr().err
    assert "redirects to ftp://***@h/x?***: refused" in said
    assert "secret" not in said
    with pytest.raises(DataError) as caught:
        get(
            DatasetConfig(editions={"best": editions["best"]}), raw.parent / "b",
            override=f"{secret}/here",
        )  # fmt: skip
    assert "secret" not in str(caught.value)
    put(raw.parent, "mirror/f", FIRST)
    get(DatasetConfig(editions=editions), raw, raw.parent / "mirror")
    assert "https://***@127.0.0.1:1/f?***" in (raw / provenance.FILE).read_text()


def test_synthetic_is_the_same_bytes_twice(dataset, raw, tmp_path):
    get(dataset, raw)
    get(dataset, tmp_path / "again")
    for name in names(raw):
        assert (raw / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_synthetic_that_was_asked_for_says_one_line(raw, capsys):
    get(DatasetConfig(editions={"synthetic": Edition(rows=20)}), raw)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "synthetic" in said


def test_synthetic_refused(dataset, raw, mirror):
    with pytest.raises(DataError) as caught:
        get(dataset, raw, mirror, allow_synthetic=False)
    message = str(caught.value)
    assert "allow_synthetic is false" in message
    assert f"{mirror / 'a/first.bin'}: No such file" in message
    assert all(f.sha256 in message for e in dataset.editions.values() for f in e.files.values())
    assert names(raw) == []


def test_no_network_reaches_the_fallback_after_two_attempts(http, raw, capsys, offline):
    file = http.file(FIRST, "a/first.bin", url=NOWHERE)
    dataset = DatasetConfig(
        editions={
            "best": Edition(rows=8, files={"first.bin": file}),
            "synthetic": Edition(rows=20),
        }
    )
    assert get(dataset, raw).synthetic
    assert len(offline) == 2  # two attempts, then no more
    assert NOWHERE in capsys.readouterr().err


def test_missing_dataset_module_fails_first(dataset, raw, mirror):
    with pytest.raises(ConfigError, match="did you mean 'sonar'"):
        download("sonnar", dataset, DataConfig(), raw, Environment())
    assert not raw.exists()


# --- the real mirror --------------------------------------------------------------------------


@pytest.fixture
def real():
    folder = ROOT / "../shared/datasets"
    if not folder.is_dir():
        pytest.skip(f"no mirror of the real data at {folder}")
    return folder.resolve()


@pytest.mark.parametrize(("name", "edition"), [("sonar", "uci"), ("cifar10", "jpeg")])
def test_declared_checksums_match_the_real_mirror(real, tmp_path, name, edition):
    declared = config.load(ROOT / "params.yaml").dataset(name).editions[edition]
    without_urls = {
        n: f.model_copy(update={"url": None}) for n, f in declared.files.items()
    }  # so that nothing is downloaded
    dataset = DatasetConfig(editions={edition: Edition(rows=declared.rows, files=without_urls)})
    environment = Environment(mirror=str(real))
    found = download(name, dataset, DataConfig(), tmp_path / name, environment)
    assert found.edition == edition
    assert provenance.verify(tmp_path / name) == found
