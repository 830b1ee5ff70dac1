"""Files are whole or not at all, durable, and named with a remedy where they are damaged."""

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from disks import read_only, small_disk
from hypothesis import given, settings
from hypothesis import strategies as st

from foldwise.core import files
from foldwise.core.errors import DamagedError, MissingError, WriteError
from foldwise.core.files import Record

REMEDY = "make it again"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)  # fmt: skip


class Inner(Record):
    names: tuple[str, ...]


class Outer(Record):
    number: int
    share: float | None = None
    inner: Inner | None = None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the examples of one test after the other."""
    return tmp_path_factory.mktemp("files")


# --- whole or not at all ----------------------------------------------------------------------


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=3))
@settings(max_examples=20)
def test_the_last_write_is_what_is_read(folder: Path, contents: list[bytes]) -> None:
    path = folder / "new" / "a.bin"
    for content in contents:
        files.write_bytes(path, content)
    assert path.read_bytes() == files.read_bytes(path, REMEDY) == contents[-1]
    assert [other.name for other in path.parent.iterdir()] == ["a.bin"]


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", ["fchmod", "fsync", "rename"])
@pytest.mark.parametrize(
    ("fault", "raised"), [(full_disk, WriteError), (interrupted, KeyboardInterrupt)]
)
@pytest.mark.parametrize("old", [b"whole", None])
def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    fault: Callable[..., None],
    raised: type[BaseException],
    old: bytes | None,
) -> None:
    path = tmp_path / "a.txt"
    if old is not None:
        files.write_bytes(path, old)
    if step == "rename":
        monkeypatch.setattr(Path, "replace", fault)
    else:
        monkeypatch.setattr(os, step, fault)
    with pytest.raises(raised) as caught:
        files.write_bytes(path, b"half")
    if raised is WriteError:
        assert f"{path}: cannot be written (No space left on device)" in str(caught.value)
        assert "nothing that was there has changed" in str(caught.value)
    assert [other.read_bytes() for other in tmp_path.iterdir()] == ([] if old is None else [old])


def test_an_error_of_the_writer_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "whole")

    def broken() -> None:
        with files.replacing(path) as file:
            file.write(b"ha")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert path.read_text() == "whole"
    assert [other.name for other in tmp_path.iterdir()] == ["a.txt"]


def test_the_bytes_are_flushed_before_the_rename_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that after a power cut there is the old file or the new one."""
    path, seen = tmp_path / "a.bin", []
    fsync, replace = os.fsync, Path.replace

    def flush(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        seen.append((kind, os.fstat(descriptor).st_size if kind == "file" else path.exists()))
        fsync(descriptor)

    def rename(self: Path, target: Path) -> Path:
        seen.append(("rename", self.read_bytes()))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "replace", rename)
    files.write_bytes(path, b"four")
    assert seen == [("file", 4), ("rename", b"four"), ("folder", True)]


def test_everybody_may_read_and_the_owner_write(tmp_path: Path) -> None:
    """Whatever mode the temporary file had: it is a project that people share."""
    path = tmp_path / "a.txt"
    before = os.umask(0o077)
    try:
        files.write_text(path, "shared")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    files.write_text(tmp_path / "file", "")
    with pytest.raises(WriteError, match=r"a\.txt: cannot be written"):
        files.write_text(tmp_path / "file" / "a.txt", "")
    with pytest.raises(WriteError, match=r"a\.txt: cannot be written"):
        files.remove(tmp_path / "file" / "a.txt")


def test_a_file_is_removed_if_there_is_one(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a.txt", "")
    for _ in range(2):
        files.remove(tmp_path / "a.txt")
        assert list(tmp_path.iterdir()) == []


# --- JSON -------------------------------------------------------------------------------------


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), JSON))
@settings(max_examples=20)
def test_json_is_read_as_it_was_written(folder: Path, content: dict[str, Any]) -> None:
    path = folder / "a.json"
    files.write_json(path, content)
    assert files.read_json(path, REMEDY) == content
    before = path.read_bytes()
    files.write_json(path, dict(reversed(content.items())))
    assert path.read_bytes() == before
    assert files.digest(content) == files.digest(dict(reversed(content.items())))


def test_json_is_canonical_and_has_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"b": 1, "a": "ü"})
    assert path.read_text(encoding="utf-8") == '{\n  "a": "ü",\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"b": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.digest({"b": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"b": 1, "a": "ü"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"a": 1', "Expecting"),
        (b"", "Expecting value"),
        (b'{"a": "\xff"}', "codec can't decode"),
        (b"[1, 2]", "not an object"),
    ],
)
def test_damaged_json_is_named_with_place_and_remedy(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DamagedError) as caught:
        files.read_json(path, REMEDY)
    message = str(caught.value)
    assert message.startswith(f"{path}: damaged (")
    assert reason in message
    assert message.endswith(f"; {REMEDY}")


def test_what_is_not_there_or_no_file_is_named(tmp_path: Path) -> None:
    for read in (files.read_bytes, files.read_json):
        with pytest.raises(MissingError, match=rf"a\.json: not there; {REMEDY}"):
            read(tmp_path / "a.json", REMEDY)
        with pytest.raises(DamagedError, match=f"cannot be read .*; {REMEDY}"):
            read(tmp_path, REMEDY)


# --- records ----------------------------------------------------------------------------------


@given(
    st.builds(
        Outer,
        number=st.integers(-(2**62), 2**62),
        share=st.none() | st.floats(allow_nan=False, allow_infinity=False),
        inner=st.none()
        | st.builds(
            Inner, names=st.lists(st.text(st.characters(exclude_categories=["Cs"]))).map(tuple)
        ),
    )
)
@settings(max_examples=20)
def test_a_record_is_read_as_it_was_written(folder: Path, record: Outer) -> None:
    path = folder / "a.json"
    files.write_record(path, record)
    assert files.read_record(path, Outer, REMEDY) == record
    assert None not in json.loads(path.read_text(encoding="utf-8")).values()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "number: Field required"),
        ({"number": "1.5"}, "number: Input should be a valid integer"),
        ({"number": 1, "inner": {"names": ["a", 2]}}, "inner.names.1: Input should be a valid str"),
        ({"number": 1, "inner": {"names": ["a", 2], "more": 1}, "other": 2}, "inner.names.1: "),
    ],
)
def test_a_field_that_is_wrong_is_named(content: dict[str, Any], reason: str) -> None:
    with pytest.raises(DamagedError) as of_text:
        files.parse_record(json.dumps(content).encode(), Outer, "a.json", REMEDY)
    with pytest.raises(DamagedError) as of_tree:
        files.as_record(content, Outer, "a.json", REMEDY)
    for caught in (of_text, of_tree):
        assert str(caught.value).startswith(f"a.json: damaged ({reason}")
        assert str(caught.value).endswith(f"; {REMEDY}")


def test_a_text_that_is_no_record_is_named() -> None:
    with pytest.raises(DamagedError, match=rf"a\.json: damaged \(Invalid JSON: .*; {REMEDY}"):
        files.parse_record(b'{"number": 1', Outer, "a.json", REMEDY)


def test_keys_that_this_foldwise_does_not_know_are_passed_over() -> None:
    record = files.parse_record(b'{"number": 1, "newer": true}', Outer, "a.json", REMEDY)
    assert record == Outer(number=1)


# --- tables -----------------------------------------------------------------------------------


def test_a_table_keeps_its_facts(tmp_path: Path) -> None:
    path, table = tmp_path / "a.parquet", pd.DataFrame({"row": [1, 2], "p0": [0.5, 0.25]})
    files.write_table(path, table, {"split": "digest", "n": 2})
    assert files.read_facts(path) == {"split": "digest", "n": 2}
    pd.testing.assert_frame_equal(pd.read_parquet(path), table)
    first = path.read_bytes()
    files.write_table(path, table, {"split": "digest", "n": 2})
    assert path.read_bytes() == first
    files.write_table(path, table)
    assert files.read_facts(path) == {}


def test_digests(tmp_path: Path) -> None:
    """Of the empty file, as FIPS 180-4 has it; of JSON in any order of its keys."""
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (tmp_path / "empty").touch()
    assert files.sha256(tmp_path / "empty") == empty
    assert files.short(empty) == "e3b0c44298fc1c14"
    assert files.digest({"b": 1, "a": 2}) == files.digest({"a": 2, "b": 1}) != files.digest({})


# --- folders as a whole -----------------------------------------------------------------------

ALL = {"a": b"1" * 2000, "b": b"2" * 2000, "last": b"3"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_are_written_together_beside_what_else_there_is(tmp_path: Path) -> None:
    folder = tmp_path / "deeper" / "folder"
    files.write_together(folder, ALL)
    assert contents(folder) == ALL
    (folder / "other").write_bytes(b"a person's")
    files.write_together(folder, {**ALL, "a": b"new"})
    assert contents(folder) == {**ALL, "a": b"new", "other": b"a person's"}
    assert {(folder / name).stat().st_mode & 0o777 for name in ALL} == {0o644}


@pytest.mark.parametrize("linked", [False, True])
def test_a_full_disk_leaves_a_folder_as_it_was(tmp_path: Path, linked: bool) -> None:
    """For real: there is room for the old files and for some of the new ones."""
    with small_disk(tmp_path / "disk", kib=64) as disk:
        folder = disk / "folder"
        files.write_together(folder, ALL)
        if linked:
            (tmp_path / "link").symlink_to(folder)
            folder = tmp_path / "link"
        big = {"a": b"1", "b": bytes(60_000), "last": b"4"}
        with pytest.raises(WriteError, match=r": cannot be written \(No space left") as raised:
            files.write_together(folder, big)
        assert "nothing that was there has changed" in str(raised.value)
        assert contents(folder) == ALL
        files.write_together(folder, {**big, "b": b"2"})
        assert contents(folder) == {**big, "b": b"2"}


def test_room_is_looked_for_before_it_is_needed(tmp_path: Path) -> None:
    files.check_room(tmp_path / "new" / "folder", 1000)
    with small_disk(tmp_path / "disk", kib=512) as disk:
        files.check_room(disk, 400 * 1024)
        with pytest.raises(
            WriteError, match=r"disk: this needs about 1.0 MiB, and 512 KiB are free"
        ):
            files.check_room(disk, 2**20)
        assert list(disk.iterdir()) == []


def test_a_folder_for_reading_alone_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    files.write_together(folder, ALL)
    with read_only(folder):
        for write in (
            lambda: files.check_room(folder, 1),
            lambda: files.check_room(folder / "inner", 1),
            lambda: files.write_together(folder, {"last": b"5"}),
            lambda: files.write_bytes(folder / "a", b""),
        ):
            with pytest.raises(WriteError, match=r"folder.* cannot be written \(Read-only"):
                write()
        assert contents(folder) == ALL
