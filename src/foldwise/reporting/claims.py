"""The notebook's claim about BatchNorm, held against what was measured inside the networks.

The claim: without it, sigmoid layers saturate and their gradients fade; with it they do not. One
split was measured, so the answer describes; it decides nothing.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from foldwise.reporting import words
from foldwise.reporting.story import StudyResults, VariantResults

LAST = 6  # measurements whose median is "the end": single batches are noisy
SHARE, FACTOR = 0.05, 1.5  # smaller differences between two trainings are not called one
SATURATING = ("sigmoid", "tanh")


@dataclass(frozen=True)
class Answer:
    """What the measurements say about one part of a claim."""

    outcome: str
    text: str


@dataclass(frozen=True)
class Claim:
    """A claim about two variants, and what the measurements say."""

    text: str
    answers: list[Answer]


def answered(study: StudyResults) -> list[Claim]:
    """What became of the notebook's claim, for every pair that can answer it."""
    return [
        Claim(
            f"The claim: without BatchNorm, {_network(plain)['activation']} layers saturate and "
            f"their gradients fade; with it they do not. Here {plain.name} (without) and "
            f"{normed.name} (with) differ in nothing else.",
            [_saturation(plain, normed), _fading(plain, normed)],
        )
        for plain, normed in batchnorm_pairs(study)
    ]


def batchnorm_pairs(study: StudyResults) -> list[tuple[VariantResults, VariantResults]]:
    """Variants (without, with BatchNorm) with a saturating activation that else are the same."""
    probed = [v for v in study.complete if len(v.diagnostics)]
    return [
        (plain, normed)
        for plain, normed in itertools.permutations(probed, 2)
        if _network(plain)["activation"] in SATURATING
        and not _network(plain)["batch_norm"]
        and _settings(normed) == _settings(plain, batch_norm=True)
    ]


def _network(variant: VariantResults) -> dict[str, Any]:
    network: dict[str, Any] = variant.manifest["variant"]["network"]
    return network


def _settings(variant: VariantResults, **changes: Any) -> dict[str, Any]:
    settings = {k: v for k, v in variant.manifest["variant"].items() if k != "name"}
    return settings | {"network": {**settings["network"], **changes}}


def _saturation(plain: VariantResults, normed: VariantResults) -> Answer:
    layers = sorted(plain.diagnostics["layer"].unique())[:-1]
    ends = [[_end(v, layer, "saturated") for v in (plain, normed)] for layer in layers]
    changes = [without - with_it for without, with_it in ends]
    outcome = {
        (True, False): "As claimed",
        (False, True): "Against the claim",
        (True, True): "Mixed",
        (False, False): "Not as claimed",
    }[max(changes) >= SHARE, min(changes) <= -SHARE]
    numbers = "; ".join(
        f"layer {layer}: {words.percent(without)} without, {words.percent(with_it)} with"
        for layer, (without, with_it) in zip(layers, ends, strict=True)
    )
    return Answer(
        outcome,
        f"Saturation. Share of saturated values at the end, {numbers} (differences under "
        f"{100 * SHARE:g} pp are not called one).",
    )


def _fading(plain: VariantResults, normed: VariantResults) -> Answer:
    (start, end), (start_with, end_with) = (
        (_start(v, 1, "gradient_norm"), _end(v, 1, "gradient_norm")) for v in (plain, normed)
    )
    smaller, faded = end * FACTOR <= end_with, end * FACTOR <= start
    outcome = {(True, True): "As claimed", (False, False): "Not as claimed"}
    smaller_or_not = f"{'' if smaller else 'not '}smaller at the end"
    fades_or_not = "fades" if faded else "does not fade"
    return Answer(
        outcome.get((smaller, faded), "In part as claimed"),
        f"Gradients. Without BatchNorm the gradient of layer 1 is {smaller_or_not}, and over the "
        f"training it {fades_or_not}: its norm goes from {words.short(start)} at the first step to "
        f"{words.short(end)} at the end without, from {words.short(start_with)} to "
        f"{words.short(end_with)} with (factors under {FACTOR:g} are not called a difference).",
    )


def _end(variant: VariantResults, layer: int, column: str) -> float:
    table = variant.diagnostics
    return at_the_end(table[table["layer"] == layer], column)


def _start(variant: VariantResults, layer: int, column: str) -> float:
    table = variant.diagnostics
    return float(table[table["layer"] == layer].sort_values("step")[column].iloc[0])


def at_the_end(table: pd.DataFrame, column: str) -> float:
    """Median of the last measurements of one layer; NaN where there are none."""
    values = table.sort_values("step")[column].dropna().tail(LAST)
    return float(values.median()) if len(values) else np.nan
