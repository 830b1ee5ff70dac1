"""The notebook's claim about BatchNorm, held against what was measured inside the networks.

The claim: without it, sigmoid layers saturate and their gradients fade; with it they do not. One
split was measured, so the answer describes; it decides nothing.
"""

import itertools
from dataclasses import dataclass

from foldwise.reporting.tidy import at_the_end, run_of
from foldwise.results.evaluations import Result
from foldwise.results.studies import StudyResults
from foldwise.wording import numbers

SHARE, FACTOR = 0.05, 1.5  # smaller differences between two trainings are not called one
SATURATING = ("sigmoid", "tanh")


@dataclass(frozen=True)
class Observation:
    """What the measurements say about one part of the claim."""

    outcome: str
    text: str


@dataclass(frozen=True)
class Claim:
    """The claim about two variants, and what the measurements say."""

    text: str
    observations: tuple[Observation, ...]


def claims(study: StudyResults) -> list[Claim]:
    """What became of the notebook's claim, for every pair of variants that can answer it."""
    return [
        Claim(
            "The claim: without BatchNorm, "
            f"{run_of(plain).manifest.variant.network.activation} layers saturate and their "
            f"gradients fade; with it they do not. Here {plain.name} (without) and {normed.name} "
            "(with) differ in nothing else.",
            (_saturation(plain, normed), _fading(plain, normed)),
        )
        for plain, normed in itertools.permutations(study.complete, 2)
        if _is_pair(plain, normed)
    ]


def _is_pair(plain: Result, normed: Result) -> bool:
    """Whether the activation saturates, BatchNorm is the only difference, and both were probed."""
    one, other = (run_of(result).manifest.variant for result in (plain, normed))
    if one.network.batch_norm or one.network.activation not in SATURATING:
        return False
    with_norm = one.network.model_copy(update={"batch_norm": True})
    same = one.model_copy(update={"name": other.name, "network": with_norm})
    return other == same and all(len(run_of(result).diagnostics) for result in (plain, normed))


def _saturation(plain: Result, normed: Result) -> Observation:
    hidden = sorted(run_of(plain).diagnostics["layer"].unique())[:-1]
    ends = {n: [_measured(result, n, "saturated")[1] for result in (plain, normed)] for n in hidden}
    changes = [without - with_it for without, with_it in ends.values()]
    outcome = {
        (True, False): "As claimed",
        (False, True): "Against the claim",
        (True, True): "Mixed",
        (False, False): "Not as claimed",
    }[max(changes) >= SHARE, min(changes) <= -SHARE]
    shares = "; ".join(
        f"layer {n}: {numbers.percent(without)} without, {numbers.percent(with_it)} with"
        for n, (without, with_it) in ends.items()
    )
    return Observation(
        outcome,
        f"Saturation. Share of saturated values at the end, {shares} (differences under "
        f"{100 * SHARE:g} pp are not called one).",
    )


def _fading(plain: Result, normed: Result) -> Observation:
    start, end = _measured(plain, 1, "gradient_norm")
    start_with, end_with = _measured(normed, 1, "gradient_norm")
    smaller, faded = end * FACTOR <= end_with, end * FACTOR <= start
    outcome = {(True, True): "As claimed", (False, False): "Not as claimed"}
    smaller_or_not = f"{'' if smaller else 'not '}smaller at the end"
    fades_or_not = "fades" if faded else "does not fade"
    return Observation(
        outcome.get((smaller, faded), "In part as claimed"),
        f"Gradients. Without BatchNorm the gradient of layer 1 is {smaller_or_not}, and over the "
        f"training it {fades_or_not}: its norm goes from {numbers.short(start)} at the first step "
        f"to {numbers.short(end)} at the end without, from {numbers.short(start_with)} to "
        f"{numbers.short(end_with)} with (factors under {FACTOR:g} are not called a difference).",
    )


def _measured(result: Result, layer: int, column: str) -> tuple[float, float]:
    """The first measurement of a layer, and the median of the last ones."""
    table = run_of(result).diagnostics
    of_layer = table[table["layer"] == layer].sort_values("step")
    return float(of_layer[column].iloc[0]), at_the_end(of_layer, column)
