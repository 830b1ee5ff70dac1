from pathlib import Path

import pytest

from foldwise import reporting
from foldwise.core.errors import ResultsError
from foldwise.reporting import StudyResults, words


@pytest.mark.parametrize(
    ("value", "digits", "sign", "text"),
    [
        (0.5, 1, "-", "0.5"),
        (-0.5, 1, "-", "−0.5"),
        (0.5, 1, "+", "+0.5"),
        (-0.01, 1, "-", "0.0"),
        (-0.01, 1, "+", "+0.0"),
        (0.0001, 1, "-", "0.0"),
        (None, 1, "-", "–"),
        (float("nan"), 1, "-", "–"),
        (float("inf"), 1, "-", "–"),
    ],
)
def test_number(value: float | None, digits: int, sign: str, text: str) -> None:
    assert words.number(value, digits, sign) == text


def test_shares_points_and_p_values() -> None:
    assert words.percent(0.8417) == "84.2 %"
    assert words.points(-0.0123) == "−1.2 pp"
    assert words.points_interval([-0.0311, 0.0811]) == "[−3.11, +8.11] pp"
    assert words.interval(0.5, 0.75) == "[50.0, 75.0] %"
    assert words.p_value(0.0004) == "p < 0.001"
    assert words.p_value(0.34) == "p = 0.340"


def test_the_protocol_says_what_decides_a_result(echoes: StudyResults) -> None:
    text = words.protocol(echoes)
    for part in (
        "echoes (edition official)",
        "10 folds × 2 repeats = 20 splits",
        "40 epochs in batches of 16",
        "sgd (lr 0.01, momentum 0.8)",
        "rows in file order",
        "the same initial weights in every split",
        "features not standardised",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (150.4, "150"),
        (31.0, "31"),
        (1.04, "1.0"),
        (0.8, "0.80"),
        (0.0123, "0.012"),
        (-0.98, "−0.98"),
        (9.4e-5, "9.4·10⁻⁵"),
        (0.0, "0"),
        (float("nan"), "–"),
    ],
)
def test_short_numbers(value: float, text: str) -> None:
    assert words.short(value) == text


def test_minus_signs_are_set_and_hyphens_are_kept() -> None:
    text = "cifar-10, r0-f03: -2.40 pp (95 % CI -7.14 to +2.34 pp, [-1, 2]), p = 1e-05"
    assert words.typeset(text) == (
        "cifar-10, r0-f03: −2.40 pp (95 % CI −7.14 to +2.34 pp, [−1, 2]), p = 1e-05"
    )


def test_the_readme_names_spread_n_and_verdicts(studies: list[StudyResults]) -> None:
    text = reporting.readme_table(studies)
    for study in studies:
        assert f"### {study.name}" in text
        for variant in study.variants:
            mean = words.percent(variant.metrics["accuracy"]["mean"])
            assert f"| {variant.name} | {mean} |" in text
    assert "SD over splits" in text
    assert "- **Helps**: pictures-batchnorm against pictures-plain" in text
    assert text.count("- **") == sum(len(study.pairs) for study in studies)


def test_markdown_tables_are_rectangular(troubled: list[StudyResults]) -> None:
    for study in troubled:
        rows = [line for line in words.readme_table([study]).splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) == 1


def test_a_failure_and_its_refused_pairs_are_said(troubled: list[StudyResults]) -> None:
    for text in (reporting.readme_table(troubled), reporting.text_table(troubled)):
        assert "failed: the loss is not finite in r0-f02 at epoch 2" in text
        assert "Not compared" in text
        assert "(synthetic data)" in text


def test_columns_of_the_terminal_table_align(echoes: StudyResults) -> None:
    lines = reporting.text_table([echoes]).splitlines()
    heading = next(line for line in lines if line.startswith("variant"))
    rows = [line for line in lines if line.startswith("echoes-") and "pp" in line[-4:]]
    assert len(rows) == 3
    assert {len(row) for row in rows} == {len(heading)}


def test_update_readme_replaces_only_what_is_between_the_markers(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"before\n{words.BEGIN}\nold\n{words.END}\nafter\n", encoding="utf-8")
    reporting.update_readme(path, "new\n")
    reporting.update_readme(path, "new\n")
    text = path.read_text(encoding="utf-8")
    assert text == f"before\n{words.BEGIN}\nnew\n{words.END}\nafter\n"


@pytest.mark.parametrize("text", ["", words.BEGIN, f"{words.END}\n{words.BEGIN}"])
def test_update_readme_names_missing_markers(tmp_path: Path, text: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ResultsError, match=r"results:begin.*results:end"):
        reporting.update_readme(path, "new")
    assert path.read_text(encoding="utf-8") == text


def test_update_readme_without_a_readme(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="not found"):
        reporting.update_readme(tmp_path / "README.md", "new")
