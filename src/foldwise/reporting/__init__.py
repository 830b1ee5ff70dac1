"""Plots, pictures and the HTML report: results as people see them.

The only part of foldwise that draws. Altair is imported when something is drawn, not before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from foldwise.core.config import Config
from foldwise.core.errors import ResultsError
from foldwise.core.files import write_bytes, write_text
from foldwise.reporting import tidy
from foldwise.results.studies import StudyResults, is_whole, read_study

if TYPE_CHECKING:
    from foldwise.reporting.png import StudyPictures

__all__ = ["PngCharts", "summary_picture", "write_plots", "write_report"]

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
    from foldwise.reporting import pairs, png

    if path.suffix not in (".svg", ".png"):
        raise ResultsError(f"{path}: a picture is .svg or .png, not '{path.suffix}'")
    figure = pairs.overview(studies, row=62)
    if figure is None:
        raise ResultsError(f"{path}: no pair was compared, so there is nothing to draw")
    spec = figure.standalone(width=760).to_dict(validate=False)
    write_bytes(path, png.svg(spec) if path.suffix == ".svg" else png.png(spec, scale=2))


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
        name = self.config.variants[variant].study
        if name not in self._studies:
            self._studies[name] = self._read(name)
        pictures = self._studies[name]
        return pictures.of(variant) if pictures else {}

    def _read(self, study: str) -> "StudyPictures | None":
        from foldwise.reporting.png import StudyPictures

        if not is_whole(self.config, study, self.root):
            return None
        return StudyPictures(read_study(self.config, study, self.root))
