"""The report in a real browser: nothing it complains about, nothing it fetches, no empty chart."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from chromium import Browser, browser, executable

from foldwise import reporting
from foldwise.results.studies import StudyResults
from foldwise.wording import evidence
from foldwise.wording.sentences import Context, answer

DRAWN = "document.documentElement?.dataset.charts === 'drawn'"
MARKS = """
Object.fromEntries([...document.querySelectorAll('.chart')].map((chart) => [
  chart.id, [...chart.querySelectorAll('.role-mark path, .role-mark text, .role-mark line')]
    .filter((mark) => mark.getBoundingClientRect().width + mark.getBoundingClientRect().height > 0)
    .length]))
"""
INSIDE = (2 + 2 + 2 + 3 + 3) + (2 + 2 + 3 + 3)  # charts of layers, with and without sigmoids
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
CLIPPED = """
[...document.querySelectorAll('.chart')].filter((chart) => {
  const frame = chart.getBoundingClientRect();
  return [...chart.querySelectorAll('text')].some((text) => {
    const box = text.getBoundingClientRect();
    return box.width && (box.left < frame.left - 2 || box.right > frame.right + 2);
  });
}).map((chart) => chart.id)
"""
STRUCK = """
(() => {
  const boxes = (what) => [...document.querySelectorAll(`#overview .role-mark.mark-${what} > *`)]
    .map((mark) => mark.getBoundingClientRect());
  return boxes('text').map((text) => boxes('rule').filter((bar) => bar.left < text.right &&
    bar.right > text.left && bar.top < text.bottom && bar.bottom > text.top).length);
})()
"""

needs_browser = pytest.mark.skipif(executable() is None, reason="no Chromium or Chrome installed")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@needs_browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_draws_every_chart(chromium: Browser, page: Path, width: int, dark: bool) -> None:
    chromium.open(page.as_uri(), width=width, dark=dark)
    chromium.wait_for(DRAWN)
    marks = chromium.evaluate(MARKS)
    assert len(marks) == 1 + 5 * 2 + (2 + 3) * 2 + (1 + 3) * 2 + 2 + INSIDE
    assert all(marks.values()), marks
    assert chromium.evaluate(OVERFLOW) == 0
    assert chromium.evaluate(CLIPPED) == []
    assert chromium.errors == []
    assert chromium.requests == [page.as_uri()]


@needs_browser
@pytest.mark.parametrize("width", [1280, 768, 600, 390])
def test_no_bar_of_the_overview_runs_through_a_label(
    chromium: Browser, page: Path, width: int
) -> None:
    chromium.open(page.as_uri(), width=width)
    chromium.wait_for(DRAWN)
    struck = chromium.evaluate(STRUCK)
    assert len(struck) == 3 * 5  # lines of text
    assert not any(struck)


@needs_browser
def test_ink_follows_the_theme_and_paper_is_light(chromium: Browser, page: Path) -> None:
    ink = "getComputedStyle(document.querySelector('.chart text')).fill"
    chromium.open(page.as_uri(), dark=True)
    chromium.wait_for(DRAWN)
    assert chromium.evaluate(ink) == "rgb(230, 232, 235)"
    chromium.call("Emulation.setEmulatedMedia", media="print")
    assert chromium.evaluate(ink) == "rgb(31, 35, 40)"
    chromium.call("Emulation.setEmulatedMedia", media="")
    assert chromium.pdf().startswith(b"%PDF")


@needs_browser
def test_a_failed_variant_and_synthetic_data_are_drawn_too(
    chromium: Browser, tmp_path: Path, troubled: list[StudyResults]
) -> None:
    reporting.write_report(troubled, tmp_path / "index.html")
    chromium.open((tmp_path / "index.html").as_uri())
    chromium.wait_for(DRAWN)
    assert all(chromium.evaluate(MARKS).values())
    banners = chromium.evaluate("[...document.querySelectorAll('.banner')].map(b => b.innerText)")
    assert any(text.startswith("Synthetic data.") for text in banners)
    assert any(text.startswith("pictures-sigmoid failed:") for text in banners)
    assert chromium.errors == []


@needs_browser
@pytest.mark.parametrize(
    "fault",
    [
        "<img src='https://example.invalid/a.png'>",
        "<script>console.error('oh')</script>",
        "<script>throw Error('oh')</script>",
        "<script>eval('1')</script>",
    ],
)
def test_the_browser_notices_faults(chromium: Browser, page: Path, fault: str) -> None:
    """The checks above are worth something: each fault is seen."""
    text = page.read_text(encoding="utf-8").replace("</main>", f"</main>{fault}")
    page.write_text(text, encoding="utf-8")
    chromium.open(page.as_uri())
    chromium.wait_for(DRAWN)
    assert chromium.errors


@needs_browser
def test_an_empty_chart_is_noticed(chromium: Browser, page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace('"recall":', '"gone":')
    page.write_text(text, encoding="utf-8")
    chromium.open(page.as_uri())
    chromium.wait_for(DRAWN)
    marks = chromium.evaluate(MARKS)
    assert {name for name, count in marks.items() if not count} == {
        "echoes--recall",
        "pictures--recall",
    }


def test_the_page_is_deterministic_and_small(page: Path, studies: list[StudyResults]) -> None:
    first = page.read_bytes()
    reporting.write_report(studies, page)
    assert page.read_bytes() == first
    assert len(first) < 2_000_000


def test_commit_and_links_appear_only_when_given(
    tmp_path: Path, page: Path, studies: list[StudyResults]
) -> None:
    links = {"echoes-baseline": "http://localhost:5000/#/runs/1"}
    reporting.write_report(studies, tmp_path / "b.html", commit="abc1234", links=links)
    text = (tmp_path / "b.html").read_text(encoding="utf-8")
    assert "abc1234" in text
    assert f'<a href="{links["echoes-baseline"]}">echoes-baseline</a>' in text
    assert "abc1234" not in page.read_text(encoding="utf-8")


def test_every_chart_has_a_title_and_a_table(page: Path) -> None:
    outline = _Outline()
    outline.feed(page.read_text(encoding="utf-8"))
    groups = 5 + 4  # of charts inside the networks: one heading and one note each
    assert outline.count["figure"] == 31 + INSIDE
    assert outline.count["h4"] == 31 + INSIDE + groups
    assert outline.count["figcaption"] == 31
    assert outline.count["caption"] >= 31 + INSIDE
    assert outline.outside == []


def test_every_number_of_a_comparison_is_there(page: Path, echoes: StudyResults) -> None:
    text = page.read_text(encoding="utf-8").replace("\u00a0", " ")
    context = Context.of(echoes.comparison)
    for pair in echoes.comparison.made:
        assert answer(pair, context).split(";")[0] in text
        for name, value in evidence.rows(pair, context):
            assert f'<th scope="row">{name}</th><td>{value}</td>' in text


def test_the_page_is_about_the_primary_metric(tmp_path: Path, losses: StudyResults) -> None:
    reporting.write_report([losses], tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "variant B has the higher log-loss (lower is better)." in text
    assert "The verdicts are about log-loss; other metrics are exploratory." in text
    assert "changes log-loss (lower is better) by" in text
    assert '<th scope="row">primary metric</th><td>log-loss</td>' in text


class _Outline(HTMLParser):
    """Counts tags, and notes addresses that would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.count: dict[str, int] = {}
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        for name, value in attrs:
            if name in ("src", "href") and tag != "a" and not (value or "").startswith("data:"):
                self.outside.append(f"{tag} {value}")
