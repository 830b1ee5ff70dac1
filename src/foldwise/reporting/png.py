"""The report's charts as PNG: what MLflow shows with a variant's run."""

import functools
from typing import Any

import vl_convert
from altair.utils import schemapi

from foldwise.reporting import classes, inside, learning, pairs
from foldwise.reporting.canvas import Figure
from foldwise.results.studies import StudyResults
from foldwise.wording.sentences import Context


class StudyPictures:
    """The charts of one study, each drawn when it is first needed and kept."""

    def __init__(self, study: StudyResults):
        self._study = study
        self._drawn: dict[str, bytes | None] = {}

    def of(self, variant: str) -> dict[str, bytes]:
        """File name → PNG: the variant's own charts, its comparisons, and those of its study."""
        compared = [
            f"differences-{pair.b}-vs-{pair.a}"
            for pair in self._study.comparison.made
            if variant in (pair.a, pair.b)
        ]
        names = {name: name for name in ("overview", "validation-accuracy", "inside", *compared)}
        names |= {f"{kind}-{variant}": kind for kind in ("loss", "confusion")}
        with schemapi.debug_mode(False):  # Altair's checks of each part; the tests have them on
            drawn = {f"{shown}.png": self._png(name) for name, shown in names.items()}
        return {file: content for file, content in drawn.items() if content is not None}

    def _png(self, name: str) -> bytes | None:
        """A chart by its name, if there is one."""
        if name not in self._drawn:
            if name == "inside":
                probed = inside.picture(self._study)
                self._drawn[name] = png(probed, scale=1) if probed else None
            else:
                figure = self._figures.get(name)
                spec = figure.standalone().to_dict(validate=False) if figure else None
                self._drawn[name] = png(spec) if spec else None
        return self._drawn[name]

    @functools.cached_property
    def _figures(self) -> dict[str, Figure]:
        study, context = self._study, Context.of(self._study.comparison)
        figures = [
            *learning.accuracy_curves(study),
            *learning.loss_curves(study),
            *classes.confusion_matrices(study),
            *(x for pair in study.comparison.made for x in pairs.differences(pair, context)),
        ]
        if overview := pairs.overview([study]):
            figures.append(overview)
        return {figure.name: figure for figure in figures}


def png(spec: dict[str, Any], scale: float = 1.25) -> bytes:
    """A Vega-Lite chart as PNG, with so many pixels per unit; the same chart, the same bytes."""
    picture: bytes = vl_convert.vegalite_to_png(spec, scale=scale)
    return picture
