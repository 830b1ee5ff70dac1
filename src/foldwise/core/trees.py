"""Nested settings and numbers: flattened, and rounded."""

from collections.abc import Mapping
from typing import Any

DIGITS = 10  # below that the order of a sum decides, which differs between machines


def flattened(tree: Mapping[str, Any], separator: str = ".") -> dict[str, Any]:
    """The leaves of nested mappings by their joined keys: {"a": {"b": 1}} → {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            inner = flattened(value, separator)
            flat |= {f"{key}{separator}{name}": leaf for name, leaf in inner.items()}
        else:
            flat[key] = value
    return flat


def rounded(tree: Any) -> Any:
    """A nested structure with every float rounded to ten significant digits, tuples as lists."""
    if isinstance(tree, Mapping):
        return {key: rounded(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [rounded(value) for value in tree]
    return significant(tree) if isinstance(tree, float) else tree


def significant(value: float) -> float:
    """A number rounded to ten significant digits."""
    return float(f"{value:.{DIGITS}g}")
