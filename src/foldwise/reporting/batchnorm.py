"""The notebook's claim about BatchNorm, held against what was measured inside the networks.

The claim: without it, sigmoid layers saturate and their gradients fade; with it they do not. One
split was measured, so the answer describes; it decides nothing.
"""

import itertools
from dataclasses import dataclass

import pandas as pd

from foldwise.core.config import Variant
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


@dataclass(frozen=True, eq=False)
class Probed:
    """A variant and what was measured inside one of its networks."""

    variant: Variant
    table: pd.DataFrame

    @property
    def hidden(self) -> list[int]:
        """The hidden layers, from 1."""
        return sorted(self.table["layer"].unique())[:-1]

    def start(self, layer: int, column: str) -> float:
        """The first measurement of a layer."""
        return float(self._of(layer).sort_values("step")[column].iloc[0])

    def end(self, layer: int, column: str) -> float:
        """The median of the last measurements of a layer."""
        return at_the_end(self._of(layer), column)

    def _of(self, layer: int) -> pd.DataFrame:
        return self.table[self.table["layer"] == layer]


def claims(study: StudyResults) -> list[Claim]:
    """What became of the notebook's claim, for every pair of variants that can answer it."""
    return [
        Claim(
            f"The claim: without BatchNorm, {plain.variant.network.activation} layers saturate and "
            f"their gradients fade; with it they do not. Here {plain.variant.name} (without) and "
            f"{normed.variant.name} (with) differ in nothing else.",
            (_saturation(plain, normed), _fading(plain, normed)),
        )
        for plain, normed in itertools.permutations(map(_probed, study.complete), 2)
        if _is_pair(plain, normed)
    ]


def _probed(result: Result) -> Probed:
    run = run_of(result)
    return Probed(run.manifest.variant, run.diagnostics)


def _is_pair(plain: Probed, normed: Probed) -> bool:
    """Whether the activation saturates, and BatchNorm is the only difference."""
    network = plain.variant.network
    if network.batch_norm or network.activation not in SATURATING:
        return False
    with_norm = network.model_copy(update={"batch_norm": True})
    same = plain.variant.model_copy(update={"name": normed.variant.name, "network": with_norm})
    return normed.variant == same and len(plain.table) > 0 and len(normed.table) > 0


def _saturation(plain: Probed, normed: Probed) -> Observation:
    ends = {n: (plain.end(n, "saturated"), normed.end(n, "saturated")) for n in plain.hidden}
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


def _fading(plain: Probed, normed: Probed) -> Observation:
    (start, end), (start_with, end_with) = (
        (probed.start(1, "gradient_norm"), probed.end(1, "gradient_norm"))
        for probed in (plain, normed)
    )
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
