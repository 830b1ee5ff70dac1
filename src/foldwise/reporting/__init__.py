"""Plots, report, README and terminal tables: results as people read them.

The only part of foldwise that draws. Altair is imported when something is drawn, not before.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from foldwise.errors import ResultsError
from foldwise.files import atomically, write_text
from foldwise.reporting import tidy
from foldwise.reporting.story import StudyResults, VariantResults, load
from foldwise.reporting.words import readme_table, text_table, update_readme

if TYPE_CHECKING:
    import altair as alt

__all__ = [
    "StudyResults",
    "VariantResults",
    "load",
    "readme_table",
    "study_charts",
    "summary_picture",
    "text_table",
    "update_readme",
    "variant_charts",
    "write_plots",
    "write_report",
]

PLOTS = {
    "curves.csv": tidy.curves,
    "scores.csv": tidy.scores,
    "confusion.csv": tidy.confusion,
    "differences.csv": tidy.differences,
}


def write_plots(studies: Sequence[StudyResults], folder: Path) -> None:
    """Write the tidy tables for `dvc plots` into a folder, one CSV file per kind of plot."""
    for name, table in PLOTS.items():
        write_text(folder / name, table(studies).to_csv(index=False, lineterminator="\n"))


def write_report(
    studies: Sequence[StudyResults],
    path: Path,
    *,
    commit: str | None = None,
    links: Mapping[str, str] | None = None,
) -> None:
    """Write the report: one HTML file that needs no network.

    Without `commit` and `links` it depends on the results alone: same results, same bytes.

    Args:
        studies: what to tell, in this order.
        path: the HTML file.
        commit: the git commit of the results, shown where it is given.
        links: variant → address of its run in MLflow.
    """
    from foldwise.reporting import page

    write_text(path, page.html(studies, commit, links))


def summary_picture(studies: Sequence[StudyResults], path: Path) -> None:
    """Write the story in one picture, all pairs with CI and rope, as .svg or .png.

    Raises:
        ResultsError: no study has a comparison to draw, or the suffix is another one.
    """
    from foldwise.reporting import pairs

    figure = pairs.overview(studies)
    if figure is None:
        raise ResultsError(f"{path}: no pair was compared, so there is nothing to draw")
    kinds: dict[str, Literal["svg", "png"]] = {".svg": "svg", ".png": "png"}
    if path.suffix not in kinds:
        raise ResultsError(f"{path}: a picture is .svg or .png, not '{path.suffix}'")
    chart = figure.standalone(width=760)
    save = functools.partial(chart.save, format=kinds[path.suffix], scale_factor=2)
    atomically(path, lambda part: save(str(part)))


def study_charts(study: StudyResults) -> "dict[str, alt.Chart | alt.LayerChart]":
    """The charts of a study that span its variants, by file-name stem, ready for `chart.save`."""
    from foldwise.reporting import figures

    return {figure.name: figure.standalone() for figure in figures.study_wide(study)}


def variant_charts(study: StudyResults, variant: str) -> "dict[str, alt.Chart | alt.LayerChart]":
    """The charts of one variant (loss, confusion), ready for `chart.save`."""
    from foldwise.reporting import figures

    drawn = figures.variant_figures(study, variant)
    return {name: figure.standalone() for name, figure in drawn.items()}
