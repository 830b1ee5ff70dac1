"""Every number of a comparison with its name, as the rows of a table."""

from foldwise.metrics import METRICS
from foldwise.results.comparisons import AtRope, Exploratory, Pair
from foldwise.statistics import Posterior
from foldwise.wording.numbers import (
    NONE,
    difference,
    difference_interval,
    known,
    margin,
    number,
    p_value,
    percent,
    thousands,
)
from foldwise.wording.sentences import Context, splits_of

Row = tuple[str, str]


def rows(pair: Pair, context: Context) -> list[Row]:
    """The primary metric's numbers, then the exploratory and the secondary ones."""
    metric, accuracy = context.metric, METRICS["accuracy"]
    t_test = f"t({pair.df}) = {number(pair.t, 2)}, p = {p_value(pair.p)}"
    naive = "naive p, which takes splits for independent: do not trust"
    shown = [
        ("mean difference", difference(pair.mean, metric)),
        ("95 % CI, corrected", difference_interval(pair.ci95, metric)),
        ("paired splits", splits_of(context.folds, context.repeats)),
        ("rows, each held out once in every repeat", thousands(pair.n)),
        ("SD over splits", difference(pair.sd, metric, sign="-")),
        ("standard error, corrected", difference(pair.se, metric, sign="-")),
        ("corrected t-test", t_test if known(pair.t) else NONE),
        ("p after Holm, over the pairs of this study", f"p = {p_value(pair.p_holm)}"),
        (naive, f"p = {p_value(pair.naive_p)}"),
        ("minimum detectable effect (power 80 %)", difference(pair.mde, metric, sign="-")),
    ]
    ropes: list[tuple[float, Posterior | AtRope]] = [(context.rope, pair.posterior)]
    for rope, odds in ropes + [(other.rope, other) for other in pair.ropes]:
        shares = map(percent, (odds.worse, odds.equivalent, odds.better))
        name = f"worse / practically the same / better at {margin(rope, metric)}"
        shown.append((name, " / ".join(shares)))
    shown += [_exploratory(name, test) for name, test in pair.exploratory.items()]
    shown += [
        (
            f"McNemar, repeat {test.repeat} (trained models held fixed)",
            f"only A right {test.only_a}, only B right {test.only_b}, p = {p_value(test.p)}",
        )
        for test in pair.mcnemar
    ]
    if bootstrap := pair.bootstrap:
        name = f"row bootstrap of accuracy, {bootstrap.replicates} replicates (models fixed)"
        interval = difference_interval(bootstrap.ci95, accuracy)
        shown.append((name, f"{difference(bootstrap.mean, accuracy)}, 95 % CI {interval}"))
    return shown


def _exploratory(name: str, test: Exploratory) -> Row:
    metric = METRICS[name]
    better = "above" if metric.direction == 1 else "below"
    heading = f"{metric.title}, B − A (exploratory; {better} 0 is better)"
    if test.missing:
        return heading, f"missing: {test.missing}"
    return heading, (
        f"{difference(test.mean, metric)}, 95 % CI {difference_interval(test.ci95, metric)}, "
        f"p = {p_value(test.p)}"
    )
