from collections.abc import Callable

import pytest

from foldwise.metrics import METRICS
from foldwise.results.studies import StudyResults
from foldwise.wording import results
from foldwise.wording.numbers import percent
from foldwise.wording.results import readme_table, text_table

ByMetric = Callable[[str], StudyResults]


def test_the_readme_names_spread_n_and_verdicts(studies: list[StudyResults]) -> None:
    text = readme_table(studies)
    for study in studies:
        assert f"### {study.name}" in text
        for result in study.results:
            mean = percent(result.metrics.scores["accuracy"].mean)
            assert f"| {result.name} | {mean} |" in text
    assert "SD over splits" in text
    assert "- **Helps**: pictures-batchnorm against pictures-plain" in text
    assert text.count("- **") == sum(len(study.comparison.made) for study in studies)


def test_markdown_tables_are_rectangular(troubled: list[StudyResults]) -> None:
    for study in troubled:
        rows = [line for line in readme_table([study]).splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) == 1


def test_a_failure_and_its_refused_pairs_are_said(troubled: list[StudyResults]) -> None:
    for text in (readme_table(troubled), text_table(troubled)):
        assert "failed: the loss is not finite in r0-f02 at epoch 2" in text
        said = "pictures-sigmoid vs pictures-plain: pictures-sigmoid failed: the loss is not finite"
        assert "Not compared" in text
        assert said in text
        assert "(synthetic data)" in text


def test_columns_of_the_terminal_table_align(studies: list[StudyResults]) -> None:
    lines = text_table(studies[1:]).splitlines()
    heading = next(line for line in lines if line.startswith("variant"))
    rows = [line for line in lines if line.startswith("echoes-") and "pp" in line[-4:]]
    assert len(rows) == 3
    assert {len(row) for row in rows} == {len(heading)}


def test_test_rows_have_a_column_where_there_are_any(studies: list[StudyResults]) -> None:
    pictures, echoes = studies
    assert "test accuracy, refit" in results.columns(pictures)
    assert "test accuracy, refit" not in results.columns(echoes)


@pytest.mark.parametrize("metric", ["log_loss", "roc_auc", "balanced_accuracy", "matthews"])
def test_the_primary_metric_comes_first_and_the_others_after(
    by_metric: ByMetric, metric: str
) -> None:
    study = by_metric(metric)
    columns, lines = results.columns(study), results.lines(study)
    assert columns[1] == METRICS[metric].title
    assert columns[5] == "accuracy"
    assert columns.count(METRICS[metric].title) == 1
    score = study.results[0].metrics.scores
    unit = {"log_loss": " nats", "balanced_accuracy": " %"}.get(metric, "")
    assert all(cell.endswith(unit) for cell in lines[0].cells[:2])
    assert lines[0].cells[4] == percent(score["accuracy"].mean)
    assert {len(line.cells) for line in lines} == {len(columns) - 1}


def test_verdicts_are_of_the_primary_metric(by_metric: ByMetric) -> None:
    study = by_metric("log_loss")
    said = results.verdicts(study.comparison)
    assert [verdict for verdict, _ in said] == [pair.verdict for pair in study.comparison.made]
    assert all("changes log-loss (lower is better) by" in text for _, text in said)
