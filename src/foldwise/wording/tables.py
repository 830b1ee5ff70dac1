"""Tables made of text: aligned for a terminal, and Markdown.

A row with fewer cells than the first says in its last one why it has no more.
"""

import re
from collections.abc import Container, Sequence

from foldwise.wording.numbers import NONE

Row = Sequence[str]


def aligned(rows: Sequence[Row], left: Container[int] | None = None) -> list[str]:
    """The rows of a table, heading first, as lines: columns are as wide as their widest cell.

    The columns `left` are flush left (by default all are), the others flush right.
    """
    full = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    lines = []
    for row in rows:
        last = len(row) - 1 if len(row) < len(widths) else None  # spans the columns that it lacks
        cells = [
            cell.ljust(width) if left is None or i in left or i == last else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def markdown(header: Row, rows: Sequence[Row], left: int = 1) -> str:
    """A table in Markdown; the first `left` columns are flush left, the others flush right."""
    rule = ["---" if i < left else "---:" for i in range(len(header))]
    full = [header, rule, *([*row, *[NONE] * (len(header) - len(row))] for row in rows)]
    escaped = ((plain(cell).replace("|", "\\|") for cell in row) for row in full)
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)


def plain(text: str) -> str:
    """A text, such as a name or a reason, on one line that Markdown shows and does not follow."""
    on_one_line = " ".join(text.split("\n"))
    return re.sub(r"<(?=[A-Za-z/!?])|(?<=\])\(", lambda found: f"\\{found[0]}", on_one_line)
