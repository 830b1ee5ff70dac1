"""All charts of the report. Nothing else in foldwise draws."""

from foldwise.reporting.canvas import Figure
from foldwise.reporting.classes import calibration, confusion_matrices, recall
from foldwise.reporting.learning import accuracy_curves, gap_curves, loss_curves
from foldwise.reporting.pairs import differences, overview, posterior
from foldwise.results.comparisons import Pair
from foldwise.results.studies import StudyResults
from foldwise.wording.sentences import Context


def study_figures(study: StudyResults) -> dict[str, list[Figure]]:
    """The figures of a study's variants by section, in the order of the page."""
    sections = {
        "Learning curves": [*accuracy_curves(study), *gap_curves(study), *loss_curves(study)],
        "Classes": [*recall(study), *confusion_matrices(study)],
        "Calibration": list(calibration(study)),
    }
    return {heading: figures for heading, figures in sections.items() if figures}


def pair_figures(pair: Pair, context: Context) -> list[Figure]:
    """The figures of one comparison: paired differences, and the posterior of their mean."""
    return [*differences(pair, context), *posterior(pair, context)]


def for_every_variant(study: StudyResults) -> list[Figure]:
    """The figures of a study that go with each of its variants: comparisons, accuracy."""
    compared = overview([study])
    return [*([compared] if compared else []), *accuracy_curves(study)]


def by_variant(study: StudyResults) -> dict[str, dict[str, Figure]]:
    """The figures of one variant alone: variant → "loss" or "confusion" → figure."""
    drawn = {
        kind: {figure.name: figure for figure in draw(study)}
        for kind, draw in (("loss", loss_curves), ("confusion", confusion_matrices))
    }
    return {
        result.name: {
            kind: figures[name]
            for kind, figures in drawn.items()
            if (name := f"{kind}-{result.name}") in figures
        }
        for result in study.results
    }
