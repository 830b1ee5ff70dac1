"""The results of studies as text: for a terminal and for the README."""

from collections.abc import Iterable
from dataclasses import dataclass

from foldwise.metrics import METRICS, Metric
from foldwise.results.comparisons import Comparison
from foldwise.results.evaluations import Metrics
from foldwise.results.studies import StudyResults
from foldwise.wording import tables
from foldwise.wording.numbers import NONE, difference, in_unit, interval, number
from foldwise.wording.sentences import Context, answer, marked, protocol, versus

ACCURACY = METRICS["accuracy"]
EXPLORATORY = {"accuracy": "accuracy", "log_loss": "log-loss", "brier": "Brier"}


@dataclass(frozen=True)
class Line:
    """One variant in the results table: its cells, or one that says why there are none."""

    variant: str
    cells: tuple[str, ...]
    failed: bool = False


def columns(study: StudyResults) -> list[str]:
    """The headings of a study's results table: the primary metric, then the exploratory ones."""
    primary = METRICS[study.comparison.metric]
    headings = ["variant", primary.title, "95 % CI, corrected", "SD over splits", "splits"]
    if _has_test(study):
        headings.append("test accuracy, refit")
    return [*headings, *_exploratory(primary).values(), "accuracy gap"]


def lines(study: StudyResults) -> list[Line]:
    """The results table of a study, a line for each variant."""
    return [_line(study, result.metrics) for result in study.results]


def verdicts(comparison: Comparison) -> list[tuple[str, str]]:
    """(verdict, sentence without it) of every comparison; a refused one says why."""
    context = Context.of(comparison)
    made = [(str(pair.verdict), answer(pair, context)) for pair in comparison.made]
    return made + [
        ("Not compared", f"{versus(pair)}: {pair.refused}") for pair in comparison.refused
    ]


def readme_table(studies: Iterable[StudyResults]) -> str:
    """The results of all studies as Markdown: protocol, table, one verdict per pair."""
    parts = []
    for title, how, rows, said in map(_parts, studies):
        claims = "\n".join(f"- **{verdict}**: {tables.plain(text)}" for verdict, text in said)
        parts += [f"### {title}", how, tables.markdown(rows[0], rows[1:]), claims]
    return "\n\n".join(part for part in parts if part)


def text_table(studies: Iterable[StudyResults]) -> str:
    """The results of all studies as aligned text for a terminal."""
    parts = []
    for title, how, rows, said in map(_parts, studies):
        table = "\n".join(tables.aligned(rows, left={0}))
        claims = "\n".join(f"{verdict}: {text}" for verdict, text in said)
        parts += [f"{title}\n{how}", table, claims]
    return "\n\n".join(part for part in parts if part)


def _parts(study: StudyResults) -> tuple[str, str, list[list[str]], list[tuple[str, str]]]:
    """Title, protocol, table and verdicts."""
    comparison = study.comparison
    return (
        marked(study.name, comparison.synthetic),
        protocol(comparison.protocol, comparison.edition),
        [columns(study), *([line.variant, *line.cells] for line in lines(study))],
        verdicts(comparison),
    )


def _has_test(study: StudyResults) -> bool:
    """Whether the data set has test rows that were scored."""
    return any(result.metrics.test for result in study.complete)


def _exploratory(primary: Metric) -> dict[str, str]:
    """The metrics beside the primary one that have a column, with their headings."""
    return {name: heading for name, heading in EXPLORATORY.items() if name != primary.name}


def _line(study: StudyResults, metrics: Metrics) -> Line:
    if not metrics.complete:
        failure = f"failed: {metrics.reason or 'no reason recorded'}"
        return Line(metrics.variant, (failure,), failed=True)
    primary, score = METRICS[study.comparison.metric], metrics.primary
    low, high = score.ci95_low, score.ci95_high
    cells = [
        in_unit(score.mean, primary),
        interval(None if low is None or high is None else (low, high), primary),
        difference(score.sd_over_splits, primary, 3, "-"),
        str(metrics.splits),
    ]
    if _has_test(study):
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
