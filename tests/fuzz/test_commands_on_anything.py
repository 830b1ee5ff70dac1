"""Commands on a project of which one file is damaged: a status that is documented, and a line."""

import gc
import io
import signal
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from fabricate import TINY, Cache
from hypothesis import given
from hypothesis import strategies as st
from mutations import damaged, either, examples, holding, unchanged, within

from foldwise.commands.main import main
from foldwise.core import paths
from foldwise.results import runs

LOCK = Path("dvc.lock")
FILES = (
    paths.PARAMS,
    LOCK,
    *(paths.metrics("tiny-dropout"), paths.scores("tiny-dropout"), paths.comparison("tiny")),
    *(paths.run("tiny-dropout") / name for name in runs.FILES),
)
READING = (("check",), ("results",))
LOCKED = b"""schema: '2.0'
stages:
  evaluate@tiny-dropout:
    cmd: python pipeline/evaluate.py tiny-dropout
    outs:
    - path: metrics/tiny-dropout.json
      hash: md5
      md5: d41d8cd98f00b204e9800998ecf8427e
      size: 0
"""


@pytest.fixture(scope="module")
def root(fabricated: Cache, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project in the working directory."""
    root = tmp_path_factory.mktemp("project")
    fabricated.copy(root, TINY)
    (root / LOCK).write_bytes(LOCKED)
    threshold, handler = gc.get_threshold(), signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch, unchanged(root):
        patch.chdir(root)
        yield root
    gc.set_threshold(*threshold)
    signal.signal(signal.SIGTERM, handler)


def run(root: Path, arguments: tuple[str, ...], seconds: float = 60) -> None:
    out, err = io.StringIO(), io.StringIO()
    with (
        unchanged(root),
        within(seconds),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as stopped,
    ):
        main(arguments)
    said = err.getvalue()
    assert stopped.value.code in (0, 1, 2, 3), said
    assert "Traceback" not in said
    assert bool(said) == (stopped.value.code in (1, 2)) or "doctor" in arguments, said


def damage(root: Path, data: st.DataObject) -> tuple[Path, bytes]:
    path = root / data.draw(st.sampled_from(FILES))
    change = either if path.suffix == ".json" else damaged
    return path, data.draw(change(path.read_bytes()))


@examples(100)
@given(data=st.data())
def test_what_reads(root: Path, data: st.DataObject) -> None:
    arguments = data.draw(st.sampled_from(READING))
    with holding(*damage(root, data)):
        run(root, arguments)


@examples(10)
@given(data=st.data())
def test_what_says_what_is_wrong(root: Path, data: st.DataObject) -> None:
    with holding(*damage(root, data)):
        run(root, ("doctor",), seconds=60)
