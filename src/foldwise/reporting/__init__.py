"""Plots, pictures and the HTML report: results as people see them.

The only part of foldwise that draws. Altair is imported when something is drawn, not before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from foldwise.core.config import Config
from foldwise.core.errors import ResultsError
from foldwise.core.files import write_text
from foldwise.reporting import tidy
from foldwise.results.studies import StudyResults, is_whole, read_study

if TYPE_CHECKING:
    from foldwise.reporting.png import StudyPictures

__all__ = ["PngCharts", "summary_picture", "write_plots", "write_report"]


def write_plots(studies: Sequence[StudyResults], folder: Path) -> None:
    """Write the tidy tables for `dvc plots` into a folder, one CSV file per kind of plot."""
    for name in tidy.PLOTS:
        table = tidy.plot(name, studies)
        write_text(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))


def write_report(
    studies: Sequence[StudyResults],
    path: Path,
    *,
    commit: str | None = None,
    links: Mapping[str, str] | None = None,
) -> None:
    """Write the report: one HTML file that needs no network.

    Without `commit` and `links` (variant → address of its run in MLflow) it depends on the
    results alone: same results, same bytes.
    """
    from foldwise.reporting import page

    write_text(path, page.html(studies, commit, links or {}))


def summary_picture(studies: Sequence[StudyResults], path: Path) -> None:
    """Write the story in one picture, all pairs with CI and rope, as SVG.

    Raises:
        ResultsError: no study has a comparison to draw.
    """
    import vl_convert

    from foldwise.reporting import pairs

    figure = pairs.overview(studies, row=62)
    if figure is None:
        raise ResultsError(f"{path}: no pair was compared, so there is nothing to draw")
    spec = figure.standalone(width=760).to_dict(validate=False)
    write_text(path, vl_convert.vegalite_to_svg(spec))


@dataclass
class PngCharts:
    """What `track` shows with a run: variant → file name → PNG.

    Nothing is read or drawn before a variant is asked for, and nothing twice. A study that is not
    trained, evaluated and compared as a whole has no charts yet.
    """

    config: Config
    root: Path = Path()
    _studies: "dict[str, StudyPictures | None]" = field(default_factory=dict)

    def __call__(self, variant: str) -> Mapping[str, bytes]:
        """The charts of a variant."""
        from foldwise.reporting.png import StudyPictures

        name = self.config.variants[variant].study
        if name not in self._studies:
            whole = is_whole(self.config, name, self.root)
            study = read_study(self.config, name, self.root) if whole else None
            self._studies[name] = StudyPictures(study) if study else None
        pictures = self._studies[name]
        return pictures.of(variant) if pictures else {}
