"""What may happen to a file or an answer on its way, as Hypothesis strategies.

Whatever comes of it is accepted, or refused with a line that names the place: never a traceback,
a hang, or another file that has changed. `FUZZ=n` asks for n times as many examples, other ones
each time; without it they are few and always the same.
"""

import copy
import hashlib
import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from foldwise.core.errors import FoldwiseError, printable

TIMES = int(os.environ.get("FUZZ", "0"))
DEEP = 20_000  # levels of nesting

Draw = Callable[[st.SearchStrategy[Any]], Any]


def examples(count: int) -> Callable[[Any], Any]:
    """So many examples of a test, or many more where they are asked for."""
    return settings(
        max_examples=count * max(1, TIMES),
        derandomize=not TIMES,
        database=None,
        deadline=None,
        suppress_health_check=[*HealthCheck],
    )


# --- bytes ------------------------------------------------------------------------------------

PIECES = (
    b"", b"\x00", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n\r\n", b"\t",
    b"\x1b[2J", b"\xe9", "\u2028".encode(), b'"', b"'", b",", b",,,,", b":", b"- ", b"#", b"{}",
    b"[]", b"{", b"}", b"null", b"NaN", b"-Infinity", b"1e999", b"-1", b"0x10", b"\xc2\xb2",
    b"9" * 400, b"9" * 5000, b"A" * 5000, b"<<<<<<< HEAD\n", b"=======\n", b">>>>>>> x\n",
    b"[" * DEEP, b'{"a":' * DEEP, b"&a [*a]", b"? ", b"!!python/object:os.system {}",
    b"2001-99-99", b"../../x",
)  # fmt: skip
ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp037")


@st.composite
def damaged(draw: Draw, content: bytes) -> bytes:
    """A file after a broken copy, a bad disk, a merge, an editor or somebody's cat."""
    for _ in range(draw(st.integers(1, 3))):
        content = draw(st.sampled_from(DAMAGES))(draw, content)
    return content


def _place(draw: Draw, content: bytes) -> int:
    return int(draw(st.integers(0, len(content))))


def _truncated(draw: Draw, content: bytes) -> bytes:
    return content[: _place(draw, content)]


def _flipped(draw: Draw, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 8)) if content else 0):
        changed[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(changed)


def _replaced(draw: Draw, content: bytes) -> bytes:
    start, end = sorted((_place(draw, content), _place(draw, content)))
    filler = draw(st.sampled_from((b"\x00", b"\xff", b" ")))
    return content[:start] + filler * (end - start) + content[end:]


def _inserted(draw: Draw, content: bytes) -> bytes:
    start, piece = _place(draw, content), draw(st.sampled_from(PIECES))
    return content[:start] + piece + content[start + draw(st.integers(0, 12)) :]


def _line(draw: Draw, content: bytes) -> bytes:
    """A line is lost, doubled, or stands elsewhere."""
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    line = lines.pop(draw(st.integers(0, len(lines) - 1)))
    for _ in range(draw(st.integers(0, 2))):
        lines.insert(draw(st.integers(0, len(lines))), line)
    return b"".join(lines)


def _recoded(draw: Draw, content: bytes) -> bytes:
    text = content.decode("latin-1").replace("a", "é", draw(st.integers(0, 1)))
    return text.encode(draw(st.sampled_from(ENCODINGS)))


def _other_line_ends(draw: Draw, content: bytes) -> bytes:
    return content.replace(b"\n", draw(st.sampled_from((b"\r\n", b"\r", b"", b"\n\n", b"\x00"))))


DAMAGES = (_truncated, _flipped, _replaced, _inserted, _line, _recoded, _other_line_ends)


# --- trees ------------------------------------------------------------------------------------

VALUES = st.one_of(
    st.sampled_from(
        (
            None, True, False, 0, -1, 1, 2, 3, 10**6, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5,
            -0.5, 1.0, 1e-320, 1e308, float("nan"), float("inf"), "", " ", "x", "1", "0.1", "nan",
            "é", "\x00", "\ud800", "a\nb", "../../x", "{}", "A" * 5000, [], {}, [[]], [None],
            {"": 0}, [0, 0], [-1, -1], ["x", "x"], {"a": {"a": {"a": 1}}},
        )
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
)  # fmt: skip


@st.composite
def mutated(draw: Draw, tree: Any) -> Any:
    """A tree of JSON or YAML with other values, and with keys that are lost, new or elsewhere."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 3))):
        holder, key = _chosen(draw, tree)
        if holder is None:
            return draw(VALUES)
        change = draw(st.sampled_from(("value", "value", "lost", "doubled", "wrapped", "moved")))
        if change == "value":
            holder[key] = draw(VALUES)
        elif change == "lost":
            del holder[key]
        elif change == "wrapped":
            holder[key] = draw(st.sampled_from(([holder[key]], {"x": holder[key]})))
        elif change == "moved":
            other, place = _chosen(draw, tree)
            holder[key] = copy.deepcopy(other[place]) if other else None
        elif isinstance(holder, dict):
            holder[f"{key}{draw(st.sampled_from(('x', ' ', '-2', 'é', '.')))}"] = holder[key]
        else:
            holder.append(copy.deepcopy(holder[key]))
    return tree


def _chosen(draw: Draw, tree: Any) -> tuple[Any, Any]:
    """A dict or list in the tree, and a key or place in it; None where there is nothing in it."""
    places = list(_places(tree))
    return draw(st.sampled_from(places)) if places else (None, None)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(tree, dict | list):
        for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
            yield tree, key
            yield from _places(tree[key])


def as_json(tree: Any) -> bytes:
    """As whoever writes JSON without care."""
    return json.dumps(tree).encode()


def either(content: bytes) -> st.SearchStrategy[bytes]:
    """The JSON in a file with other bytes, or with other values."""
    return st.one_of(damaged(content), mutated(json.loads(content)).map(as_json))


# --- parquet ----------------------------------------------------------------------------------


@st.composite
def other_columns(draw: Draw, content: bytes) -> bytes:
    """A Parquet file that is whole, with other columns, types, values or rows."""
    table = pq.read_table(io.BytesIO(content))
    name = draw(st.sampled_from(table.column_names))
    place = table.column_names.index(name)
    change = draw(st.sampled_from(("lost", "renamed", "text", "float", "null", "other", "rows")))
    if change == "lost":
        table = table.remove_column(place)
    elif change == "renamed":
        table = table.rename_columns([f"{n}x" if n == name else n for n in table.column_names])
    elif change == "rows":
        table = table.slice(draw(st.integers(0, 3)), draw(st.integers(0, 5)))
    else:
        length = len(table)
        values: dict[str, list[object]] = {
            "text": ["x"] * length,
            "float": [0.5] * length,
            "null": [None] * length,
            "other": [draw(st.sampled_from((0, -1, 1, 2**31, 2**62)))] * length,
        }
        table = table.set_column(place, name, pa.array(values[change]))
    if draw(st.booleans()):
        table = table.replace_schema_metadata(None)
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


# --- what must come of it ---------------------------------------------------------------------


@contextmanager
def accepted_or_refused(*places: object, seconds: float = 60) -> Iterator[None]:
    """The block ends well, or with one of our errors, which names one of the places; in time."""
    with within(seconds):
        try:
            yield
        except FoldwiseError as error:
            said = str(error)
            assert any(str(place) in said for place in places), said[:1000]
            assert printable(said) == said


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """The block does not hang: after so long, the test fails where it stands."""

    def stop(*_: object) -> None:
        raise AssertionError(f"not done after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def unchanged(root: Path) -> Iterator[None]:
    """The block leaves all files under a folder as they are, and adds none."""
    before = _files(root)
    yield
    assert _files(root) == before


def _files(root: Path) -> dict[Path, str]:
    found = sorted(path for path in root.rglob("*") if path.is_file())
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@contextmanager
def holding(path: Path, content: bytes) -> Iterator[None]:
    """For the length of the block the file holds this, then again what it held before."""
    before = path.read_bytes() if path.exists() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    try:
        yield
    finally:
        path.unlink() if before is None else path.write_bytes(before)
