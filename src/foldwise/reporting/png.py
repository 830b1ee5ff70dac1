"""The report's charts as PNG: what MLflow shows with a variant's run."""

import functools
import operator
from collections.abc import Iterable, Mapping
from typing import Any

import vl_convert
from altair.utils import schemapi

from foldwise.reporting import figures, inside, pairs
from foldwise.reporting.canvas import Figure
from foldwise.results.studies import StudyResults
from foldwise.wording.sentences import Context

SCALE = 1.25  # pixels per unit of a chart


class StudyPictures:
    """The charts of one study, each drawn when it is first needed and kept."""

    def __init__(self, study: StudyResults):
        self.study = study

    def of(self, variant: str) -> dict[str, bytes]:
        """File name → PNG: the variant's own charts, its comparisons, and those of its study."""
        with schemapi.debug_mode(False):  # Altair's checks of each part; the tests have them on
            own = _pngs(self._own[variant])
            compared = (drawn for names, drawn in self._compared.items() if variant in names)
            return functools.reduce(operator.or_, compared, own) | self._shared

    @functools.cached_property
    def _own(self) -> dict[str, dict[str, Figure]]:
        return figures.by_variant(self.study)

    @functools.cached_property
    def _compared(self) -> dict[tuple[str, str], dict[str, bytes]]:
        comparison = self.study.comparison
        context = Context.of(comparison)
        return {
            (pair.a, pair.b): _pngs(_named(pairs.differences(pair, context)))
            for pair in comparison.made
        }

    @functools.cached_property
    def _shared(self) -> dict[str, bytes]:
        pictures = _pngs(_named(figures.for_every_variant(self.study)))
        probed = inside.picture(self.study)
        return pictures | ({"inside.png": png(probed, scale=1)} if probed else {})


def png(spec: dict[str, Any], scale: float = SCALE) -> bytes:
    """A Vega-Lite chart as PNG; the same chart gives the same bytes."""
    picture: bytes = vl_convert.vegalite_to_png(spec, scale=scale)
    return picture


def svg(spec: dict[str, Any]) -> bytes:
    """A Vega-Lite chart as SVG."""
    picture: str = vl_convert.vegalite_to_svg(spec)
    return picture.encode()


def _named(drawn: Iterable[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in drawn}


def _pngs(drawn: Mapping[str, Figure]) -> dict[str, bytes]:
    return {
        f"{name}.png": png(figure.standalone().to_dict(validate=False))
        for name, figure in drawn.items()
    }
