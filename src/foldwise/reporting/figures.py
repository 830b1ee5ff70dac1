"""All charts of the report. Nothing else in foldwise draws."""

from typing import Any

from foldwise.reporting.canvas import Figure
from foldwise.reporting.classes import calibration, confusion_matrices, recall
from foldwise.reporting.learning import accuracy_curves, gap_curves, loss_curves
from foldwise.reporting.pairs import differences, posterior
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


def study_wide(study: StudyResults) -> list[Figure]:
    """The figures that span a study: every comparison, and what all variants share."""
    figures = [figure for pair in study.pairs for figure in pair_figures(study, pair)]
    for draw in (accuracy_curves, gap_curves, recall, calibration):
        figures += draw(study)
    return figures


def variant_figures(study: StudyResults, variant: str) -> dict[str, Figure]:
    """The figures of one variant alone: loss, confusion."""
    figures = [*loss_curves(study), *confusion_matrices(study)]
    names = {f"{kind}-{variant}": kind for kind in ("loss", "confusion")}
    return {names[figure.name]: figure for figure in figures if figure.name in names}
