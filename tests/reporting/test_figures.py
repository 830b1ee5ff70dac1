import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import vl_convert
from scipy import stats

from foldwise import reporting
from foldwise.core.errors import ResultsError
from foldwise.reporting import inside, page, pairs
from foldwise.reporting.canvas import Figure
from foldwise.results.studies import StudyResults
from foldwise.wording.results import text_table
from foldwise.wording.sentences import Context


def _all(study: StudyResults) -> list[Figure]:
    overview = pairs.overview([study])
    drawn = [overview] if overview else []
    drawn += [f for one in study.comparison.made for f in page.pair_figures(one, _context(study))]
    drawn += [f for section in page.study_figures(study).values() for f in section]
    drawn += [f for panel in inside.panels(study) for f in panel.figures]
    return drawn


def _context(study: StudyResults) -> Context:
    return Context.of(study.comparison)


@pytest.fixture(scope="module")
def drawn(studies: list[StudyResults]) -> dict[str, list[Figure]]:
    """All figures of every study, and the overview of all."""
    overview = pairs.overview(studies)
    assert overview is not None
    return {study.name: _all(study) for study in studies} | {"overview": [overview]}


@pytest.fixture(scope="module")
def of_troubled(troubled: list[StudyResults]) -> list[Figure]:
    return [figure for study in troubled for figure in _all(study)]


def test_every_figure_says_what_to_see_and_of_how_many(drawn: dict[str, list[Figure]]) -> None:
    for figure in chain.from_iterable(drawn.values()):
        assert figure.title
        assert any(word in figure.note for word in ("splits", "rows")), figure.name
        assert len(figure.table), figure.name


def test_every_quantitative_axis_has_a_unit(drawn: dict[str, list[Figure]]) -> None:
    for figure in chain.from_iterable(drawn.values()):
        for title in _axis_titles(figure.spec):
            assert title in ("epoch", "predicted class", "actual class") or "(" in title, title


def test_charts_are_valid_vega_lite(drawn: dict[str, list[Figure]]) -> None:
    for figure in chain.from_iterable(drawn.values()):
        figure.standalone().to_dict(validate=True)
        vl_convert.vegalite_to_vega(figure.spec)


def test_names_are_unique_in_a_study(drawn: dict[str, list[Figure]]) -> None:
    for figures_of_study in drawn.values():
        names = [figure.name for figure in figures_of_study]
        assert len(names) == len(set(names))


def test_synthetic_is_said_in_every_title(of_troubled: list[Figure]) -> None:
    for figure in of_troubled:
        assert figure.title.endswith("(synthetic data)"), figure.title


def test_a_failed_variant_shows_its_curve_only(of_troubled: list[Figure]) -> None:
    names = [figure.name for figure in of_troubled if "sigmoid" in figure.name]
    assert names == ["loss-pictures-sigmoid"]


def test_the_posterior_curve_is_student_t(echoes: StudyResults) -> None:
    pair = echoes.comparison.made[0]
    (figure,) = pairs.posterior(pair, _context(echoes))
    (rows,) = (d for d in figure.spec["datasets"].values() if "density" in d[0])
    x = np.array([row["difference"] for row in rows]) / 100
    law = stats.t(pair.df, pair.mean, pair.se)
    density = np.array([row["density"] for row in rows])
    np.testing.assert_allclose(density, law.pdf(x) / law.pdf(pair.mean), atol=2e-5)
    edges = {row["difference"] for row in rows if row["part"] == "practically the same"}
    assert (min(edges), max(edges)) == (-1.0, 1.0)


def test_equal_results_have_differences_and_no_posterior(identical: StudyResults) -> None:
    (pair,) = identical.comparison.made
    names = [figure.name for figure in page.pair_figures(pair, _context(identical))]
    assert names == ["differences-echoes-input-dropout-vs-echoes-baseline"]
    text_table([identical])


def test_charts_of_pairs_follow_the_primary_metric(losses: StudyResults) -> None:
    overview = pairs.overview([losses])
    assert overview is not None
    assert "held-out log-loss" in overview.note
    assert "left of 0 the first-named variant is better" in overview.note
    differences, posterior = page.pair_figures(losses.comparison.made[0], _context(losses))
    assert differences.title.endswith(" nats")
    assert "left of 0 it is better" in differences.note
    assert "(±0.01 nats)" in differences.note
    for figure, axis in (
        (overview, "difference in log-loss (nats)"),
        (differences, "difference in log-loss (nats)"),
        (posterior, "mean difference in log-loss (nats)"),
    ):
        assert axis in _axis_titles(figure.spec)


def test_less_is_better_where_the_metric_says_so(losses: StudyResults) -> None:
    pair, context = losses.comparison.made[0], _context(losses)
    (drawn,), (posterior,) = pairs.differences(pair, context), pairs.posterior(pair, context)
    below = sum(line.difference < 0 for line in pair.differences)
    assert f"{below} of 10 splits better, {10 - below} worse" in drawn.note
    text = json.dumps(drawn.spec)
    better, worse = (f'"test": "datum.difference {s} 0", "value": "{c}"'
                     for s, c in (("<", pairs.BETTER), (">", pairs.WORSE)))  # fmt: skip
    assert better in text
    assert worse in text
    (rows,) = (d for d in posterior.spec["datasets"].values() if "density" in d[0])
    better_part = [row["difference"] for row in rows if row["part"] == "better"]
    worse_part = [row["difference"] for row in rows if row["part"] == "worse"]
    assert max(better_part) == -0.01
    assert min(worse_part) == 0.01


def test_metrics_without_a_common_unit_are_drawn_in_ropes(
    pictures: StudyResults, losses: StudyResults
) -> None:
    figure = pairs.overview([pictures, losses])
    assert figure is not None
    assert "gain (multiples of the rope)" in _axis_titles(figure.spec)
    assert (figure.table["rope"] == 1).all()
    for study in (pictures, losses):
        shown = figure.table[figure.table["study"] == study.name]
        gains = [_context(study).metric.direction * pair.mean for pair in study.comparison.made]
        np.testing.assert_allclose(shown["mean"], np.array(gains) / 0.01, rtol=1e-4)
        assert (shown["low"] < shown["high"]).all()


def test_the_story_in_one_picture(tmp_path: Path, studies: list[StudyResults]) -> None:
    first, second = tmp_path / "one.svg", tmp_path / "two.svg"
    reporting.summary_picture(studies, first)
    reporting.summary_picture(studies, second)
    assert first.read_bytes() == second.read_bytes()
    assert "vs pictures-plain" in first.read_text(encoding="utf-8")


def test_no_picture_without_a_comparison(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="nothing to draw"):
        reporting.summary_picture([], tmp_path / "a.svg")


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
