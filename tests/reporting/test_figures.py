import json
from pathlib import Path

import numpy as np
import pytest
import vl_convert
from scipy import stats

from foldwise import reporting
from foldwise.core.errors import ResultsError
from foldwise.reporting import StudyResults, figures, inside, pairs
from foldwise.reporting.canvas import Figure


def _all(studies: list[StudyResults]) -> list[Figure]:
    overview = pairs.overview(studies)
    drawn = [overview] if overview else []
    for study in studies:
        drawn += [f for pair in study.pairs for f in figures.pair_figures(study, pair)]
        drawn += [f for section in figures.study_figures(study).values() for f in section]
        drawn += [f for group in inside.groups(study) for f in group.figures]
    return drawn


def test_every_figure_says_what_to_see_and_of_how_many(studies: list[StudyResults]) -> None:
    for figure in _all(studies):
        assert figure.title
        assert any(word in figure.note for word in ("splits", "rows")), figure.name
        assert len(figure.table), figure.name


def test_every_quantitative_axis_has_a_unit(studies: list[StudyResults]) -> None:
    for figure in _all(studies):
        for title in _axis_titles(figure.spec):
            assert title in ("epoch", "predicted class", "actual class") or "(" in title, title


def test_charts_are_valid_vega_lite(studies: list[StudyResults]) -> None:
    for figure in _all(studies):
        figure.standalone().to_dict(validate=True)
        vl_convert.vegalite_to_vega(figure.spec)


def test_synthetic_is_said_in_every_title(troubled: list[StudyResults]) -> None:
    for figure in _all(troubled):
        assert figure.title.endswith("(synthetic data)"), figure.title


def test_a_failed_variant_shows_its_curve_only(troubled: list[StudyResults]) -> None:
    names = [figure.name for figure in _all(troubled) if "sigmoid" in figure.name]
    assert names == ["loss-pictures-sigmoid"]


def test_names_are_unique_in_a_study(studies: list[StudyResults]) -> None:
    for study in studies:
        names = [figure.name for figure in _all([study])]
        assert len(names) == len(set(names))


def test_the_posterior_curve_is_student_t(echoes: StudyResults) -> None:
    pair = echoes.pairs[0]
    (figure,) = pairs.posterior(echoes, pair)
    (rows,) = (d for d in figure.spec["datasets"].values() if "density" in d[0])
    x = np.array([row["difference"] for row in rows]) / 100
    law = stats.t(pair["df"], pair["mean"], pair["se"])
    density = np.array([row["density"] for row in rows])
    np.testing.assert_allclose(density, law.pdf(x) / law.pdf(pair["mean"]), atol=2e-5)
    edges = {row["difference"] for row in rows if row["part"] == "practically the same"}
    assert (min(edges), max(edges)) == (-1.0, 1.0)


def test_equal_results_have_differences_and_no_posterior(identical: StudyResults) -> None:
    names = [figure.name for figure in figures.pair_figures(identical, identical.pairs[0])]
    assert names == ["differences-echoes-input-dropout-vs-echoes-baseline"]
    reporting.text_table([identical])


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_story_in_one_picture(tmp_path: Path, studies: list[StudyResults], suffix: str) -> None:
    first, second = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
    reporting.summary_picture(studies, first)
    reporting.summary_picture(studies, second)
    assert first.read_bytes() == second.read_bytes()
    if suffix == ".svg":
        assert "vs pictures-plain" in first.read_text(encoding="utf-8")


def test_no_picture_without_a_comparison(tmp_path: Path, studies: list[StudyResults]) -> None:
    with pytest.raises(ResultsError, match="nothing to draw"):
        reporting.summary_picture([], tmp_path / "a.svg")
    with pytest.raises(ResultsError, match=r"not '\.bmp'"):
        reporting.summary_picture(studies, tmp_path / "a.bmp")


def _axis_titles(spec: object) -> set[str]:
    found = set()
    for key, value in spec.items() if isinstance(spec, dict) else ():
        if key in ("x", "y") and isinstance(value, dict) and value.get("axis", True) is not None:
            field = value.get("field")
            hidden = field is None or value.get("title", "") is None
            assert hidden or "title" in value or field in _SHARED, json.dumps(value)
            found |= {value["title"]} if value.get("title") else set()
        found |= _axis_titles(value)
    for value in spec if isinstance(spec, list) else ():
        found |= _axis_titles(value)
    return found


# Fields of layers that share an axis titled by another layer, or that name it themselves.
_SHARED = {"epoch", "mean", "low", "zero", "p15", "p50", "p85"}
