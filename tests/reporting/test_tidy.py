import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foldwise import reporting
from foldwise.core.errors import ResultsError
from foldwise.reporting import tidy
from foldwise.results.studies import StudyResults


def test_a_band_is_mean_and_percentiles_over_splits_without_refit() -> None:
    history = pd.DataFrame(
        {
            "repeat": [0, 0, 0, -1],
            "fold": [0, 1, 2, -1],
            "epoch": 1,
            "train_loss": [1.0, 2.0, 6.0, 99.0],
        }
    )
    row = tidy.band(history, "train_loss").iloc[0]
    low, high = np.quantile([1.0, 2.0, 6.0], [0.15, 0.85])
    assert row.to_dict() == {"epoch": 1, "mean": 3.0, "low": low, "high": high, "splits": 3}


def test_a_band_leaves_out_what_is_not_finite() -> None:
    history = pd.DataFrame(
        {
            "repeat": 0,
            "fold": [0, 1, 0, 1],
            "epoch": [1, 1, 2, 2],
            "train_loss": [1.0, 3.0, np.nan, np.inf],
        }
    )
    table = tidy.band(history, "train_loss")
    assert table["epoch"].tolist() == [1]
    assert tidy.band(history.head(0), "train_loss").empty


def test_confusion_has_every_cell_and_shares_of_the_actual_class(pictures: StudyResults) -> None:
    table = tidy.plot("confusion", [pictures])
    assert len(table) == 3 * 10 * 10
    assert table.groupby("variant")["count"].sum().tolist() == [1000] * 3
    sums = table.groupby(["variant", "actual"])["share"].sum()
    np.testing.assert_allclose(sums, 1, atol=1e-4)


def test_calibration_of_a_network_that_keeps_its_word() -> None:
    random = np.random.default_rng(0)
    p = random.uniform(0.5, 1, 20_000)
    table = pd.DataFrame({"label": random.random(20_000) > p, "p0": p, "p1": 1 - p})
    bins = tidy.calibration(table.astype({"label": int}))
    assert bins["predictions"].tolist() == [2000] * tidy.BINS
    np.testing.assert_allclose(bins["confidence"], bins["accuracy"], atol=0.04)


def test_rounding_keeps_five_digits() -> None:
    values = np.array([0.0, 1.234567, -12345.67, 1.234567e-8])
    np.testing.assert_allclose(tidy.rounded(values), [0, 1.2346, -12346, 1.2346e-8])


def test_plots_are_written_for_dvc(tmp_path: Path, studies: list[StudyResults]) -> None:
    reporting.write_plots(studies, tmp_path)
    tables = {path.name: pd.read_csv(path) for path in tmp_path.iterdir()}
    assert {name: list(table) for name, table in tables.items()} == {
        f"{name}.csv": columns for name, (_, columns) in tidy.PLOTS.items()
    }
    assert len(tables["scores.csv"]) == 3 * 5 + 3 * 20
    assert len(tables["differences.csv"]) == 3 * 5 + 2 * 20
    assert not any(table.isna().any(axis=None) for table in tables.values())


def test_plots_of_failed_and_synthetic_runs(troubled: list[StudyResults]) -> None:
    curves, scores = (tidy.plot(name, troubled) for name in ("curves", "scores"))
    assert "pictures-sigmoid" in set(curves["variant"])
    assert "pictures-sigmoid" not in set(scores["variant"])
    assert set(scores["study"]) == {"pictures (synthetic data)", "echoes (synthetic data)"}


@pytest.mark.parametrize("name", tidy.PLOTS)
def test_no_studies_give_empty_tables(name: str) -> None:
    table = tidy.plot(name, [])
    assert table.empty
    assert len(table.columns) > 4


def test_results_without_their_run_are_not_drawn(echoes: StudyResults) -> None:
    bare = dataclasses.replace(echoes.results[0], run=None)
    with pytest.raises(ResultsError, match="echoes-baseline: its run folder is not at hand"):
        tidy.run_of(bare)


def test_importing_draws_nothing() -> None:
    code = "import sys, foldwise.reporting; print({'altair', 'torch', 'mlflow'} & set(sys.modules))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "set()"
