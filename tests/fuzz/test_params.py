"""params.yaml as people, editors and merges leave it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import (
    accepted_or_refused,
    as_json,
    damaged,
    examples,
    holding,
    mutated,
    unchanged,
)
from ruamel.yaml import YAML

from foldwise.core import config, paths
from foldwise.core.errors import ConfigError

ROOT = Path(__file__).parents[2]
FILES = (ROOT / "params.yaml", ROOT / "src/foldwise/demo/params.yaml")
TEXTS = [path.read_bytes() for path in FILES]
TREES = [YAML(typ="safe").load(path) for path in FILES]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("project")
    yield root / paths.PARAMS
    assert list(root.iterdir()) == []


def use(path: Path, content: bytes) -> None:
    """Read it, and if it is accepted, use all of it."""
    with (
        holding(path, content),
        unchanged(path.parent),
        accepted_or_refused(path.name, seconds=60),
    ):
        settings = config.load(path)
        for study in settings.studies:
            json.dumps([v.model_dump(mode="json") for v in settings.variants_of(study)])


@examples(60)
@given(data=st.data())
def test_other_bytes(path: Path, data: st.DataObject) -> None:
    use(path, data.draw(damaged(data.draw(st.sampled_from(TEXTS)))))


@examples(150)
@given(data=st.data())
def test_other_values(path: Path, data: st.DataObject) -> None:
    """JSON is YAML."""
    use(path, as_json(data.draw(mutated(data.draw(st.sampled_from(TREES))))))


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "\n".join(
    f"{name}: &{name} [{', '.join([f'*{chr(ord(name) - 1)}'] * 9)}]" for name in "bcdefghij"
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("# für später\n".encode("latin-1"), r"params\.yaml:1: not UTF-8"),
        (TEXTS[0] + "# für später\n".encode("latin-1"), r"params\.yaml:\d\d+: not UTF-8"),
        (b"a: " + b"[" * 1000, "nested"),
        (b"a: " + b"{a: " * 1000, "nested"),
        (b"a: 2001-99-99", r"params\.yaml"),
        (BOMB.encode(), "unknown key"),
        (b"variants: &v {v: *v}", "missing"),
        (b"", "empty"),
        (b"- a", "expected a mapping"),
    ],
    ids=range(9),
)
def test_known_damages_are_named(path: Path, content: bytes, said: str) -> None:
    use(path, content)
    with holding(path, content), pytest.raises(ConfigError, match=said):
        config.load(path)


def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").mkdir()
    with pytest.raises(ConfigError, match=r"params\.yaml: cannot be read \(Is a directory\)"):
        config.load(tmp_path / "params.yaml")


@pytest.mark.parametrize("rows", [10**400, 2**63])
def test_numbers_of_any_size_are_refused_or_used(path: Path, rows: int) -> None:
    tree = json.loads(json.dumps(TREES[1]))
    for dataset in tree["datasets"].values():
        dataset["editions"]["synthetic"]["rows"] = rows
    use(path, as_json(tree))
