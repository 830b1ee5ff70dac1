"""Flattening and rounding of nested settings and numbers."""

import json

from hypothesis import given
from hypothesis import strategies as st

from foldwise.core.trees import flattened, rounded, significant


def test_flattened_by_hand() -> None:
    tree = {"a": {"b": 1, "c": {"d": [1, 2]}}, "e": None, "empty": {}}
    assert flattened(tree) == {"a.b": 1, "a.c.d": [1, 2], "e": None}
    assert flattened(tree, "/") == {"a/b": 1, "a/c/d": [1, 2], "e": None}


KEYS = st.text("abc", min_size=1, max_size=3)
TREES = st.recursive(
    st.dictionaries(KEYS, st.integers(), min_size=1, max_size=3),
    lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=3),
    max_leaves=8,
)


@given(TREES)
def test_every_leaf_is_at_its_path(tree: dict[str, object]) -> None:
    flat = flattened(tree)
    for path, leaf in flat.items():
        node: object = tree
        for key in path.split("."):
            assert isinstance(node, dict)
            node = node[key]
        assert node == leaf
    assert flattened(flat) == flat


def test_rounded_by_hand() -> None:
    tree = {"a": [2 / 3, (1 / 3,)], "b": 200_000 / 3, "n": 12345678901234, "s": "x", "t": True}
    expected = {"a": [0.6666666667, [0.3333333333]], "b": 66666.66667}
    assert rounded(tree) == {**expected, "n": 12345678901234, "s": "x", "t": True}
    assert rounded(tree)["t"] is True


@given(st.floats(-1e300, 1e300))
def test_ten_significant_digits(value: float) -> None:
    short = significant(value)
    assert significant(short) == short
    assert abs(short - value) <= 1e-9 * abs(value)
    mantissa = json.dumps(f"{short:e}").strip('"').split("e")[0].lstrip("-")
    assert len(mantissa.replace(".", "").rstrip("0")) <= 10
