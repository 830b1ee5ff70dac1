"""Parts of pages that are written between marks; README.md has such a part."""

from pathlib import Path

import pytest
from benchmarks import pages, readme

from foldwise import reporting
from foldwise.core.errors import ReadError

ROOT = Path(__file__).parent.parent
PAGE = "above\n<!-- x:begin -->\nold\n<!-- x:end -->\nbelow\n"


def test_only_what_is_between_the_marks_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    pages.fill(page, "x", "new \\1\n")
    pages.fill(page, "x", "new \\1\n")
    assert page.read_text() == PAGE.replace("old", "new \\1")


@pytest.mark.parametrize(
    "text",
    ["no marks", "<!-- x:begin -->\n", "<!-- x:end -->\n<!-- x:begin -->\n", 2 * PAGE],
)
def test_a_page_without_the_marks_is_refused(text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ReadError, match=r"page\.md: it must have the lines <!-- x:begin -->"):
        pages.fill(page, "x", "new")
    assert page.read_text() == text


def test_a_page_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"README\.md: not there"):
        pages.fill(tmp_path / "README.md", "results", "new")


def test_the_real_pages_have_their_marks(tmp_path: Path) -> None:
    for path, name in ((readme.README, "results"), (Path("docs/performance.md"), "bench")):
        copy = tmp_path / path.name
        copy.write_bytes((ROOT / path).read_bytes())
        pages.fill(copy, name, "new")
        assert "new" in copy.read_text()


def test_the_readme_gets_the_table_and_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    readme.README.write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    drawn = []
    monkeypatch.setattr("foldwise.core.config.load", lambda: None)
    monkeypatch.setattr(readme, "read_studies", lambda settings: ["a study"])
    monkeypatch.setattr(readme, "readme_table", lambda studies: f"table of {studies[0]}")
    monkeypatch.setattr(reporting, "summary_picture", lambda *asked: drawn.append(asked))
    readme.main()
    assert "\ntable of a study\n" in readme.README.read_text()
    assert drawn == [(["a study"], readme.PICTURE)]
