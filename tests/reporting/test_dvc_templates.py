"""The templates of `dvc plots`, filled by DVC's own renderer, are Vega-Lite that draws."""

import json
from importlib import resources
from pathlib import Path

import pandas as pd
import pytest
import vl_convert
from dvc_render.vega import VegaRenderer

from foldwise.reporting import tidy
from foldwise.results.studies import StudyResults

PLOTS = {
    "accuracy": ("curves", "epoch", "mean"),
    "loss": ("curves", "epoch", "mean"),
    "scores": ("scores", "accuracy", "variant"),
    "differences": ("differences", "difference", "b"),
    "confusion": ("confusion", "actual", "predicted"),
}


@pytest.mark.parametrize("name", PLOTS)
@pytest.mark.parametrize("revisions", [["workspace"], ["HEAD", "workspace"]])
def test_templates_draw(name: str, revisions: list[str], studies: list[StudyResults]) -> None:
    table, x, y = PLOTS[name]
    points = _points(tidy.plot(table, studies), revisions)
    folder = str(resources.files("foldwise.reporting") / "dvc")
    plot = VegaRenderer(points, name, template=name, template_dir=folder, x=x, y=y, title="What")
    spec = json.loads(plot.partial_html())
    assert "<DVC_METRIC" not in json.dumps(spec)
    drawn = vl_convert.vegalite_to_svg(spec, vl_version="5.20")
    assert drawn.count("<path") > 20
    assert "What" in drawn


def test_templates_and_plots_are_the_same() -> None:
    found = resources.files("foldwise.reporting") / "dvc"
    assert {Path(str(path)).stem for path in found.iterdir()} == set(PLOTS)


def _points(table: pd.DataFrame, revisions: list[str]) -> list[dict[str, str]]:
    """As DVC reads CSV: every value a string, every row with its revision."""
    rows = table.astype(str).to_dict(orient="records")
    return [{**row, "rev": rev} for rev in revisions for row in rows]
