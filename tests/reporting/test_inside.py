"""What the report says and draws of the inside of the networks."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest

from foldwise.numerics import diagnostics
from foldwise.reporting import batchnorm, inside, tidy
from foldwise.reporting.tidy import run_of
from foldwise.results.evaluations import Result
from foldwise.results.runs import RunFolder
from foldwise.results.studies import StudyResults

STEPS = 60


def _probed(
    saturated: tuple[float, float], gradient: tuple[float, float], layers: int = 3
) -> pd.DataFrame:
    """Shares and gradients that go in a straight line from the first value to the last six."""
    u = np.minimum(np.arange(STEPS) / (STEPS - tidy.LAST), 1)
    parts = []
    for layer in range(1, layers + 1):
        share = saturated[0] + (saturated[1] - saturated[0]) * u if layer < layers else np.nan
        norm = gradient[0] + (gradient[1] - gradient[0]) * u
        parts.append(
            pd.DataFrame({"step": np.arange(STEPS) * 10, "layer": layer, "p15": -1.0, "p50": 0.0,
                          "p85": 1.0, "saturated": share, "dead": np.nan,
                          "gradient_norm": norm, "update_ratio": 0.01})
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True).sort_values(["step", "layer"], ignore_index=True)


def _variant(
    result: Result,
    table: pd.DataFrame,
    batch_norm: bool,
    activation: str = "sigmoid",
    **network: Any,
) -> Result:
    """The same result with another network and other diagnostics."""
    run = run_of(result)
    other = run.manifest.variant.network.model_copy(
        update={"batch_norm": batch_norm, "activation": activation, **network}
    )
    variant = run.manifest.variant.model_copy(update={"network": other})
    altered = RunFolder(run.path)
    vars(altered)["manifest"] = run.manifest.model_copy(update={"variant": variant})
    vars(altered)["diagnostics"] = table
    return dataclasses.replace(result, run=altered)


def _pair(
    study: StudyResults,
    plain: pd.DataFrame,
    normed: pd.DataFrame,
    activation: str = "sigmoid",
    **network: Any,
) -> StudyResults:
    """Two variants, the second with BatchNorm and with other settings of its network."""
    a, b = study.results[:2]
    pair = (
        _variant(a, plain, False, activation),
        _variant(b, normed, True, activation, **network),
    )
    return dataclasses.replace(study, results=pair)


CALM, FULL = (0.0, 0.0), (0.0, 0.4)


@pytest.mark.parametrize(
    ("plain", "normed", "outcome"),
    [
        (FULL, CALM, "As claimed"),
        (CALM, FULL, "Against the claim"),
        (CALM, CALM, "Not as claimed"),
        ((0.0, 0.04), CALM, "Not as claimed"),
        (FULL, FULL, "Not as claimed"),
    ],
)
def test_the_claim_about_saturation_may_come_out_either_way(
    pictures: StudyResults, plain: tuple[float, float], normed: tuple[float, float], outcome: str
) -> None:
    study = _pair(pictures, _probed(plain, (1, 1)), _probed(normed, (1, 1)))
    ((answer, _),) = (claim.observations for claim in batchnorm.claims(study))
    assert answer.outcome == outcome
    for share in (plain[1], normed[1]):
        assert f"{100 * share:.1f} %" in answer.text


def test_layers_that_disagree_are_called_mixed(pictures: StudyResults) -> None:
    plain, normed = _probed(FULL, (1, 1)), _probed(CALM, (1, 1))
    normed.loc[normed["layer"] == 2, "saturated"] = 0.9
    ((answer, _),) = (c.observations for c in batchnorm.claims(_pair(pictures, plain, normed)))
    assert answer.outcome == "Mixed"
    assert (
        "layer 1: 40.0 % without, 0.0 % with; layer 2: 40.0 % without, 90.0 % with" in answer.text
    )


@pytest.mark.parametrize(
    ("plain", "normed", "outcome", "text"),
    [
        (
            (1.0, 0.1),
            (1.0, 1.0),
            "As claimed",
            "smaller at the end, and over the training it fades",
        ),
        ((0.1, 0.3), (1.0, 1.0), "In part as claimed", "it does not fade"),
        ((1.0, 0.1), (1.0, 0.1), "In part as claimed", "not smaller at the end"),
        ((1.0, 1.0), (1.0, 1.0), "Not as claimed", "not smaller at the end"),
        ((1.0, 2.0), (1.0, 0.5), "Not as claimed", "not smaller at the end"),
        ((1.0, 0.8), (1.0, 1.0), "Not as claimed", "it does not fade"),
    ],
)
def test_the_claim_about_gradients_may_come_out_either_way(
    pictures: StudyResults,
    plain: tuple[float, float],
    normed: tuple[float, float],
    outcome: str,
    text: str,
) -> None:
    study = _pair(pictures, _probed(CALM, plain), _probed(CALM, normed))
    ((_, answer),) = (claim.observations for claim in batchnorm.claims(study))
    assert answer.outcome == outcome
    assert text in answer.text


def test_only_pairs_that_differ_in_batchnorm_alone_can_answer(pictures: StudyResults) -> None:
    table = _probed(FULL, (1, 1))
    assert len(batchnorm.claims(_pair(pictures, table, table, "tanh"))) == 1
    assert batchnorm.claims(_pair(pictures, table, table, "relu")) == []
    assert batchnorm.claims(_pair(pictures, table, table, hidden=[9, 9])) == []
    assert batchnorm.claims(_pair(pictures, table, table.head(0))) == []


def test_it_says_how_little_one_split_can_say(pictures: StudyResults) -> None:
    text = inside.introduction(pictures)
    for part in ("60 times", "r0-f00", f"{diagnostics.ROWS} of its training rows", "no spread"):
        assert part in text


def test_the_end_is_the_median_of_the_last_six() -> None:
    table = pd.DataFrame({"step": range(10), "x": [9, 9, 9, 9, 1, 2, 3, 4, 100, np.nan]})
    assert tidy.at_the_end(table, "x") == 3.5
    assert np.isnan(tidy.at_the_end(table.assign(x=np.nan), "x"))


def test_a_chart_per_layer_where_the_quantity_is_defined(pictures: StudyResults) -> None:
    found = {panel.heading: [f.name for f in panel.figures] for panel in inside.panels(pictures)}
    hidden, all_of = ["layer-1", "layer-2"], ["layer-1", "layer-2", "output-layer"]
    assert found == {
        "Pre-activations": [f"pre-activations-{name}" for name in hidden],
        "Saturated values": [f"saturated-{name}" for name in hidden],
        "Dead units": [f"dead-{name}" for name in hidden],
        "Gradient norm": [f"gradient-norm-{name}" for name in all_of],
        "Update to weight": [f"update-ratio-{name}" for name in all_of],
    }
    saturated = next(
        panel for panel in inside.panels(pictures) if panel.heading == "Saturated values"
    )
    assert [key.label for key in saturated.keys] == ["pictures-sigmoid"]


def test_nothing_applies_nothing_is_drawn(pictures: StudyResults) -> None:
    table = _probed(FULL, (1, 1)).assign(saturated=np.nan)
    headings = [panel.heading for panel in inside.panels(_pair(pictures, table, table))]
    assert headings == ["Pre-activations", "Gradient norm", "Update to weight"]
    nothing = _pair(pictures, table.head(0), table.head(0))
    assert inside.panels(nothing) == []
    assert inside.picture(nothing) is None


def test_layers_are_in_order_and_depths_may_differ(pictures: StudyResults) -> None:
    study = _pair(pictures, _probed(FULL, (1, 1), 12), _probed(FULL, (1, 1), 2))
    panel = next(panel for panel in inside.panels(study) if panel.heading == "Gradient norm")
    layers = [f"gradient-norm-layer-{n}" for n in range(1, 12)]
    assert [figure.name for figure in panel.figures] == [*layers, "gradient-norm-output-layer"]


def test_a_log_axis_leaves_out_what_is_0_or_not_finite(pictures: StudyResults) -> None:
    table = _probed(CALM, (1, 1))
    table.loc[table["step"] == 100, "gradient_norm"] = 0.0
    table.loc[table["step"] == 200, "gradient_norm"] = np.inf
    study = _pair(pictures, table, _probed(CALM, (1, 1)))
    panel = next(panel for panel in inside.panels(study) if panel.heading == "Gradient norm")
    (rows,) = panel.figures[0].spec["datasets"].values()
    assert len(rows) == 2 * STEPS - 2
