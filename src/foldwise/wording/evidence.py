"""Every number of a comparison with its name, as the rows of a table."""

from foldwise.metrics import METRICS
from foldwise.results.comparisons import AtRope, Bootstrap, Exploratory, McNemar, Pair
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
    metric = context.metric
    return [
        ("mean difference", difference(pair.mean, metric)),
        ("95 % CI, corrected", difference_interval(pair.ci95, metric)),
        ("paired splits", splits_of(context.folds, context.repeats)),
        ("rows, each held out once in every repeat", thousands(pair.n)),
        ("SD over splits", difference(pair.sd, metric, sign="-")),
        ("standard error, corrected", difference(pair.se, metric, sign="-")),
        ("corrected t-test", _t_test(pair)),
        ("p after Holm, over the pairs of this study", f"p = {p_value(pair.p_holm)}"),
        (
            "naive p, which takes splits for independent: do not trust",
            f"p = {p_value(pair.naive_p)}",
        ),
        ("minimum detectable effect (power 80 %)", difference(pair.mde, metric, sign="-")),
        _at_rope(context.rope, pair.posterior, context),
        *(_at_rope(other.rope, other, context) for other in pair.ropes),
        *(_exploratory(name, test) for name, test in pair.exploratory.items()),
        *(_mcnemar(test) for test in pair.mcnemar),
        *([_bootstrap(pair.bootstrap)] if pair.bootstrap else []),
    ]


def _t_test(pair: Pair) -> str:
    if not known(pair.t):
        return NONE
    return f"t({pair.df}) = {number(pair.t, 2)}, p = {p_value(pair.p)}"


def _at_rope(rope: float, odds: Posterior | AtRope, context: Context) -> Row:
    shares = (odds.worse, odds.equivalent, odds.better)
    return (
        f"worse / practically the same / better at {margin(rope, context.metric)}",
        " / ".join(percent(share) for share in shares),
    )


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


def _mcnemar(test: McNemar) -> Row:
    return (
        f"McNemar, repeat {test.repeat} (trained models held fixed)",
        f"only A right {test.only_a}, only B right {test.only_b}, p = {p_value(test.p)}",
    )


def _bootstrap(bootstrap: Bootstrap) -> Row:
    accuracy = METRICS["accuracy"]
    return (
        f"row bootstrap of accuracy, {bootstrap.replicates} replicates (models fixed)",
        f"{difference(bootstrap.mean, accuracy)}, "
        f"95 % CI {difference_interval(bootstrap.ci95, accuracy)}",
    )
