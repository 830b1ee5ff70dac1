"""What a comparison says, in one sentence, and the protocol behind it.

The protocol is told in two forms. `protocol` is whole and stands once above a study's results. A
`sentence` is quoted alone, so it has its own n, data and splits in brackets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from foldwise.core.config import SYNTHETIC, Optimizer, Training
from foldwise.metrics import METRICS, Metric
from foldwise.results.comparisons import Comparison, Pair, Protocol, Refused
from foldwise.wording import numbers

PREPROCESSING = {
    "none": "features not standardised",
    "standardize": "features standardised inside each training fold",
    "minmax": "features scaled to [0, 1] inside each training fold",
}
CLAIMS = ("Helps", "Hurts")


@dataclass(frozen=True)
class Context:
    """What all pairs of a study share.

    Attributes:
        metric: the primary one.
        rope: differences of the metric within ±rope count as none.
        dataset: its name.
        edition: of the data.
        folds: k.
        repeats: r.
        pairs: over how many of them p is adjusted.
    """

    metric: Metric
    rope: float
    dataset: str
    edition: str
    folds: int
    repeats: int
    pairs: int

    @classmethod
    def of(cls, comparison: Comparison) -> Self:
        """The context of a study's pairs."""
        return cls(
            metric=METRICS[comparison.metric],
            rope=comparison.rope,
            dataset=comparison.protocol.dataset,
            edition=comparison.edition,
            folds=comparison.protocol.folds,
            repeats=comparison.protocol.repeats,
            pairs=len(comparison.made),
        )

    @property
    def synthetic(self) -> bool:
        """Whether the data are the built-in stand-in."""
        return self.edition == SYNTHETIC


# --- pairs ------------------------------------------------------------------------------------


def sentence(pair: Pair, context: Context) -> str:
    """The verdict on a pair with everything that it rests on, in one sentence."""
    return f"{pair.verdict}: {answer(pair, context)}"


def answer(pair: Pair, context: Context) -> str:
    """The same without the verdict, for where that stands before it already."""
    if _is_same(pair):
        return f"{difference(pair, context)}."
    parts = [
        difference(pair, context),
        _probabilities(pair, context),
        f"p = {numbers.p_value(pair.p_holm)} (corrected repeated k-fold t-test, Holm over "
        f"{counted(context.pairs, 'pair')})",
    ]
    if pair.verdict not in CLAIMS and pair.sd > 0:
        effect = numbers.difference(pair.mde, context.metric, sign="-")
        parts.append(f"minimum detectable effect {effect} at 80 % power")
    return f"{'; '.join(parts)}."


def difference(pair: Pair, context: Context) -> str:
    """What B changes, with interval and n, and no more."""
    metric, setting = context.metric, _setting(pair, context)
    if _is_same(pair):
        return (
            f"{pair.b} and {pair.a} have the same {metric.title} on every one of {pair.df + 1} "
            f"splits ({setting})"
        )
    return (
        f"{pair.b} against {pair.a} changes {directed(metric)} by "
        f"{numbers.difference(pair.mean, metric)} (95 % CI {numbers.span(pair.ci95, metric)}, "
        f"{setting})"
    )


def refusal(pair: Refused) -> str:
    """Which pair was not compared, and why."""
    return f"{versus(pair)}: {pair.refused}"


def versus(pair: Pair | Refused) -> str:
    """A pair as the question asks it: B against A."""
    return f"{pair.b} vs {pair.a}"


def direction(metric: Metric) -> str:
    """Which scores are better: `higher is better`."""
    return f"{'higher' if metric.direction == 1 else 'lower'} is better"


def directed(metric: Metric) -> str:
    """The metric, with its direction where that is not what is expected of a score."""
    return metric.title if metric.direction == 1 else f"{metric.title} ({direction(metric)})"


def _is_same(pair: Pair) -> bool:
    """Whether both score the same on every split."""
    return pair.mean == 0 and pair.sd == 0


def _setting(pair: Pair, context: Context) -> str:
    folds, repeats = f"{context.folds} folds", ""
    if context.repeats > 1:
        repeats = f" × {context.repeats} repeats"
    return f"n = {pair.n} rows of {context.dataset}/{context.edition}, {folds}{repeats}"


def _probabilities(pair: Pair, context: Context) -> str:
    odds = pair.posterior
    return (
        f"P(worse / within {numbers.margin(context.rope, context.metric)} / better) = "
        f"{odds.worse:.3f} / {odds.equivalent:.3f} / {odds.better:.3f}, unadjusted"
    )


# --- protocol ---------------------------------------------------------------------------------


def protocol(shared: Protocol, edition: str) -> str:
    """The whole protocol of a study in one sentence."""
    return (
        f"Data: {data_of(shared.dataset, edition)}; stratified cross-validation, "
        f"{splits_of(shared.folds, shared.repeats)}, the same splits for every variant; "
        f"{training(shared.training)}."
    )


def data_of(dataset: str, edition: str) -> str:
    """Data set and edition; a stand-in is called one."""
    return f"{dataset} ({'synthetic stand-in' if edition == SYNTHETIC else f'edition {edition}'})"


def splits_of(folds: int, repeats: int) -> str:
    """Folds, repeats and splits: `10 folds × 5 repeats = 50 splits`."""
    return f"{folds} folds × {counted(repeats, 'repeat')} = {folds * repeats} splits"


def training(settings: Training) -> str:
    """The training settings that decide a result, as a phrase."""
    same = "the same initial weights" if settings.same_init else "new initial weights"
    phrases = (
        f"{settings.epochs} epochs in batches of {settings.batch_size}",
        optimizer(settings.optimizer),
        "reshuffled every epoch" if settings.shuffle else "rows in file order",
        f"{same} in every split",
        PREPROCESSING[settings.preprocessing],
    )
    return ", ".join(phrases)


def optimizer(settings: Optimizer) -> str:
    """An optimizer with the settings that are not zero: `sgd (lr 0.01, momentum 0.8)`."""
    tree = settings.model_dump(mode="json", exclude={"name"})
    shown = [f"{key} {value}" for key, value in sorted(tree.items()) if value]
    return f"{settings.name} ({', '.join(shown)})"


def marked(text: str, synthetic: bool) -> str:
    """A title; results on synthetic data carry the word."""
    return f"{text} (synthetic data)" if synthetic else text


def stand_in(datasets: Sequence[str]) -> str:
    """The line that follows results of the stand-in for these data sets, "" for none."""
    if not datasets:
        return ""
    stages = " ".join(f"download@{name}" for name in datasets)
    return (
        f"SYNTHETIC data stand in for {' and '.join(datasets)}: these results say nothing about "
        f"the real ones; once a mirror or the network has those, `dvc repro -f {stages}` fetches "
        "them, and `make repro` goes on from there"
    )


def counted(count: int, thing: str) -> str:
    """A count with its noun: `1 pair`, `2 pairs`."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
