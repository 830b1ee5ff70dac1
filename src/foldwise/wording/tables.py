"""Tables made of text: aligned for a terminal, and Markdown.

A row with fewer cells than the first says in its last one why it has no more.
"""

from collections.abc import Container, Sequence

from foldwise.wording.numbers import NONE

Row = Sequence[str]


def aligned(rows: Sequence[Row], left: Container[int] | None = None) -> list[str]:
    """The rows of a table as lines, every column as wide as its widest cell.

    Args:
        rows: the heading first. The last cell of a short row spans the columns that it lacks.
        left: the columns that are flush left, the others are flush right; by default all are.
    """
    full = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    return [_line(row, widths, left) for row in rows]


def markdown(header: Row, rows: Sequence[Row], left: int = 1) -> str:
    """A table in Markdown; the first `left` columns are flush left, the others flush right."""
    rule = ["---" if i < left else "---:" for i in range(len(header))]
    short = ([*row, *[NONE] * (len(header) - len(row))] for row in rows)
    return "\n".join(_markdown(row) for row in (header, rule, *short))


def _line(row: Row, widths: Sequence[int], left: Container[int] | None) -> str:
    last = len(row) - 1 if len(row) < len(widths) else None
    return "  ".join(
        cell.ljust(width) if left is None or i in left or i == last else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=False))
    ).rstrip()


def _markdown(row: Row) -> str:
    escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in row)
    return f"| {' | '.join(escaped)} |"
