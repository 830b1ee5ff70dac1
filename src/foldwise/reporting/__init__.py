"""Plots, report, README and terminal tables: results as people read them.

The only part of foldwise that draws. Altair is imported when something is drawn, not before.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from foldwise.core.config import Config
from foldwise.core.errors import ResultsError
from foldwise.core.files import atomically, write_text
from foldwise.reporting import tidy
from foldwise.reporting.story import StudyResults, VariantResults, is_there, load, load_study
from foldwise.reporting.words import readme_table, text_table, update_readme

if TYPE_CHECKING:
    from foldwise.reporting.png import StudyPictures

__all__ = [
    "PngCharts",
    "StudyResults",
    "VariantResults",
    "load",
    "readme_table",
    "summary_picture",
    "text_table",
    "update_readme",
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

    figure = pairs.overview(studies, row=62)
    if figure is None:
        raise ResultsError(f"{path}: no pair was compared, so there is nothing to draw")
    kinds: dict[str, Literal["svg", "png"]] = {".svg": "svg", ".png": "png"}
    if path.suffix not in kinds:
        raise ResultsError(f"{path}: a picture is .svg or .png, not '{path.suffix}'")
    chart = figure.standalone(width=760)
    save = functools.partial(chart.save, format=kinds[path.suffix], scale_factor=2)
    atomically(path, lambda part: save(str(part)))


@dataclass
class PngCharts:
    """What `tracking.track` shows with a run: variant → file name → PNG.

    Nothing is read or drawn before a variant is asked for, and nothing twice. A study that is not
    trained, evaluated and compared as a whole has no charts yet.

    Attributes:
        config: the settings.
        root: the project's root.
    """

    config: Config
    root: Path = Path()
    _studies: "dict[str, StudyPictures | None]" = field(default_factory=dict)

    def __call__(self, variant: str) -> Mapping[str, bytes]:
        """The charts of a variant."""
        from foldwise.reporting.png import StudyPictures

        name = self.config.variants[variant].study
        if name not in self._studies:
            there = is_there(self.config, name, self.root)
            study = load_study(self.config, name, self.root) if there else None
            self._studies[name] = StudyPictures(study) if study else None
        pictures = self._studies[name]
        return pictures.of(variant) if pictures else {}
