"""What a comparison says, in one sentence, and the protocol behind it.

The protocol is told in two forms. `protocol` is whole and stands once above a study's results. A
`sentence` is quoted alone, so it has its own n, data and splits in brackets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from foldwise.core.config import SYNTHETIC, Training
from foldwise.metrics import METRICS, Metric
from foldwise.results.comparisons import Comparison, Pair, Protocol, Refused
from foldwise.wording import numbers

PREPROCESSING = {
    "none": "features not standardised",
    "standardize": "features standardised inside each training fold",
    "minmax": "features scaled to [0, 1] inside each training fold",
}


@dataclass(frozen=True)
class Context:
    """What all pairs of a study share."""

    metric: Metric  # the primary one
    rope: float
    dataset: str
    edition: str
    folds: int
    repeats: int
    pairs: int  # over how many of them p is adjusted

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


def sentence(pair: Pair, context: Context) -> str:
    """The verdict on a pair with everything that it rests on, in one sentence."""
    return f"{pair.verdict}: {answer(pair, context)}"


def answer(pair: Pair, context: Context) -> str:
    """The same without the verdict, for where that stands before it already."""
    if _is_same(pair):
        return f"{difference(pair, context)}."
    odds = pair.posterior
    parts = [
        difference(pair, context),
        f"P(worse / within {numbers.margin(context.rope, context.metric)} / better) = "
        f"{odds.worse:.3f} / {odds.equivalent:.3f} / {odds.better:.3f}, unadjusted",
        f"p = {numbers.p_value(pair.p_holm)} (corrected repeated k-fold t-test, Holm over "
        f"{counted(context.pairs, 'pair')})",
    ]
    if pair.verdict not in ("Helps", "Hurts") and pair.sd > 0:
        effect = numbers.difference(pair.mde, context.metric, sign="-")
        parts.append(f"minimum detectable effect {effect} at 80 % power")
    return f"{'; '.join(parts)}."


def difference(pair: Pair, context: Context) -> str:
    """What B changes, with interval and n, and no more."""
    metric = context.metric
    repeats = f" × {context.repeats} repeats" if context.repeats > 1 else ""
    data = f"{context.dataset}/{context.edition}"
    setting = f"n = {pair.n} rows of {data}, {context.folds} folds{repeats}"
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


def versus(pair: Pair | Refused) -> str:
    """A pair as the question asks it: B against A."""
    return f"{pair.b} vs {pair.a}"


def directed(metric: Metric) -> str:
    """The metric, with its direction where that is not what is expected of a score."""
    return metric.title if metric.direction == 1 else f"{metric.title} (lower is better)"


def _is_same(pair: Pair) -> bool:
    """Whether both score the same on every split."""
    return pair.mean == 0 and pair.sd == 0


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
    optimizer = settings.optimizer.model_dump(mode="json", exclude={"name"})
    shown = ", ".join(f"{key} {value}" for key, value in sorted(optimizer.items()) if value)
    phrases = (
        f"{settings.epochs} epochs in batches of {settings.batch_size}",
        f"{settings.optimizer.name} ({shown})",
        "reshuffled every epoch" if settings.shuffle else "rows in file order",
        f"{'the same' if settings.same_init else 'new'} initial weights in every split",
        PREPROCESSING[settings.preprocessing],
    )
    return ", ".join(phrases)


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
