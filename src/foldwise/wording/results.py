"""The results of studies as text: for a terminal and for the README."""

from collections.abc import Iterable
from dataclasses import dataclass

from foldwise.metrics import METRICS, Metric
from foldwise.results.comparisons import Comparison
from foldwise.results.evaluations import Metrics
from foldwise.results.studies import StudyResults
from foldwise.wording import tables
from foldwise.wording.numbers import NONE, difference, in_unit, interval, number
from foldwise.wording.sentences import Context, answer, marked, protocol, refusal

ACCURACY = METRICS["accuracy"]
EXPLORATORY = {"accuracy": "accuracy", "log_loss": "log-loss", "brier": "Brier"}


@dataclass(frozen=True)
class Line:
    """One variant in the results table: its cells, or why there are none."""

    variant: str
    cells: tuple[str, ...] = ()
    failure: str = ""

    @property
    def row(self) -> list[str]:
        """All of it as a row of a table."""
        return [self.variant, *([self.failure] if self.failure else self.cells)]


def columns(study: StudyResults) -> list[str]:
    """The headings of a study's results table: the primary metric, then the exploratory ones."""
    primary = METRICS[study.comparison.metric]
    headings = ["variant", primary.title, "95 % CI, corrected", "SD over splits", "splits"]
    if has_test(study):
        headings.append("test accuracy, refit")
    return [*headings, *_exploratory(primary).values(), "accuracy gap"]


def lines(study: StudyResults) -> list[Line]:
    """The results table of a study, a line for each variant."""
    return [_line(study, result.metrics) for result in study.results]


def has_test(study: StudyResults) -> bool:
    """Whether the data set of the study has test rows that were scored."""
    return any(result.metrics.test for result in study.complete)


def verdicts(comparison: Comparison) -> list[tuple[str, str]]:
    """(verdict, sentence without it) of every comparison; a refused one says why."""
    context = Context.of(comparison)
    made = [(str(pair.verdict), answer(pair, context)) for pair in comparison.made]
    return made + [("Not compared", refusal(pair)) for pair in comparison.refused]


def readme_table(studies: Iterable[StudyResults]) -> str:
    """The results of all studies as Markdown: protocol, table, one verdict per pair."""
    return "\n\n".join(_markdown(study) for study in studies)


def text_table(studies: Iterable[StudyResults]) -> str:
    """The results of all studies as aligned text for a terminal."""
    return "\n\n".join(_text(study) for study in studies)


def _markdown(study: StudyResults) -> str:
    table = tables.markdown(columns(study), [line.row for line in lines(study)])
    said = [f"- **{verdict}**: {text}" for verdict, text in verdicts(study.comparison)]
    return "\n\n".join([f"### {_title(study)}", _protocol(study), table, "\n".join(said)]).strip()


def _text(study: StudyResults) -> str:
    table = tables.aligned([columns(study), *(line.row for line in lines(study))], left={0})
    said = [f"{verdict}: {text}" for verdict, text in verdicts(study.comparison)]
    return "\n".join([_title(study), _protocol(study), "", *table, "", *said]).strip()


def _title(study: StudyResults) -> str:
    return marked(study.name, study.comparison.synthetic)


def _protocol(study: StudyResults) -> str:
    return protocol(study.comparison.protocol, study.comparison.edition)


def _exploratory(primary: Metric) -> dict[str, str]:
    """The metrics beside the primary one that have a column, with their headings."""
    return {name: heading for name, heading in EXPLORATORY.items() if name != primary.name}


def _line(study: StudyResults, metrics: Metrics) -> Line:
    if not metrics.complete:
        return Line(metrics.variant, failure=f"failed: {metrics.reason or 'no reason recorded'}")
    primary, score = METRICS[study.comparison.metric], metrics.primary
    low, high = score.ci95_low, score.ci95_high
    cells = [
        in_unit(score.mean, primary),
        interval(None if low is None or high is None else (low, high), primary),
        difference(score.sd_over_splits, primary, 3, "-"),
        str(metrics.splits),
    ]
    if has_test(study):
        cells.append(in_unit(metrics.test.refit_accuracy if metrics.test else None, ACCURACY))
    cells += [_mean(metrics, METRICS[name]) for name in _exploratory(primary)]
    gap = metrics.gap.accuracy if metrics.gap else None
    return Line(metrics.variant, (*cells, difference(gap, ACCURACY, 3)))


def _mean(metrics: Metrics, metric: Metric) -> str:
    """A mean without its unit, which the heading implies, unless it is a percentage."""
    score = metrics.scores.get(metric.name)
    if score is None:
        return NONE
    return in_unit(score.mean, metric) if metric.unit == "share" else number(score.mean)
