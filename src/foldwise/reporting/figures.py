"""All charts of the report. Nothing else in foldwise draws."""

from typing import Any

from foldwise.reporting.canvas import Figure
from foldwise.reporting.classes import calibration, confusion_matrices, recall
from foldwise.reporting.learning import accuracy_curves, gap_curves, loss_curves
from foldwise.reporting.pairs import differences, overview, posterior
from foldwise.reporting.story import StudyResults


def study_figures(study: StudyResults) -> dict[str, list[Figure]]:
    """The figures of a study's variants by section, in the order of the page."""
    sections = {
        "Learning curves": [*accuracy_curves(study), *gap_curves(study), *loss_curves(study)],
        "Classes": [*recall(study), *confusion_matrices(study)],
        "Calibration": list(calibration(study)),
    }
    return {heading: figures for heading, figures in sections.items() if figures}


def pair_figures(study: StudyResults, pair: dict[str, Any]) -> list[Figure]:
    """The figures of one comparison: fold-paired differences, and the posterior of their mean."""
    return [*differences(study, pair), *posterior(study, pair)]


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
        variant.name: {
            kind: figures[name]
            for kind, figures in drawn.items()
            if (name := f"{kind}-{variant.name}") in figures
        }
        for variant in study.variants
    }
