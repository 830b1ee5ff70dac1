"""Parts of Markdown pages that are written by a program, between marks."""

import re
from pathlib import Path

from foldwise.core import files
from foldwise.core.errors import DamagedError, MissingError


def fill(path: Path, name: str, block: str) -> None:
    """Replace what is between `<!-- name:begin -->` and `<!-- name:end -->`.

    Raises:
        MissingError: the page is not there.
        DamagedError: it does not have each of the marks once, in this order.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    marks = f"it must have the lines {begin} and {end}, once each and in this order"
    try:
        page = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MissingError(f"{path}: not there; {marks}") from None
    between = re.fullmatch(rf"(.*{begin}\n).*({end}.*)", page, re.DOTALL)
    if not between or page.count(begin) != 1 or page.count(end) != 1:
        raise DamagedError(f"{path}: {marks}")
    files.write_text(path, f"{between[1]}{block.strip()}\n{between[2]}")
