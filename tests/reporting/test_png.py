"""The charts that tracking shows in MLflow."""

import io
from pathlib import Path

import pytest
from fabricated import Project, project
from PIL import Image

from foldwise import reporting
from foldwise.core import paths
from foldwise.reporting import png, story

SHARED = {"inside.png", "overview.png", "validation-accuracy.png"}


def test_a_variant_shows_its_own_charts_its_comparisons_and_its_study(made: Project) -> None:
    charts = reporting.PngCharts(made.config, made.root)
    drawn = charts("echoes-input-dropout")
    compared = {"differences-echoes-input-dropout-vs-echoes-baseline.png"}
    assert set(drawn) == SHARED | compared | {"loss.png", "confusion.png"}
    for name, content in drawn.items():
        with Image.open(io.BytesIO(content)) as picture:
            assert picture.format == "PNG", name
            assert min(picture.size) > 200, name
    assert len(charts("echoes-baseline")) == len(drawn) + 1  # it is in both comparisons


def test_the_same_results_give_the_same_bytes(made: Project) -> None:
    first, second = (
        reporting.PngCharts(made.config, made.root)("echoes-baseline") for _ in range(2)
    )
    assert first == second


def test_nothing_is_read_before_it_is_asked_for_and_nothing_drawn_twice(
    made: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, drawn = [], []
    load_study, draw = story.load_study, png.png
    monkeypatch.setattr(reporting, "load_study", lambda *a: read.append(a) or load_study(*a))
    monkeypatch.setattr(png, "png", lambda *a, **k: drawn.append(a) or draw(*a, **k))
    charts = reporting.PngCharts(made.config, made.root)
    assert (len(read), len(drawn)) == (0, 0)
    charts("echoes-baseline")
    before = len(drawn)
    charts("echoes-input-dropout")
    assert (len(read), len(drawn) - before) == (1, 2)  # loss and confusion, the rest is there


def test_a_study_without_all_its_results_has_no_charts_yet(tmp_path: Path) -> None:
    made = project(tmp_path, pictures=100, repeats=1, epochs=3)
    (tmp_path / paths.metrics("echoes-input-dropout")).unlink()
    charts = reporting.PngCharts(made.config, made.root)
    assert charts("echoes-baseline") == {}
    assert "loss.png" in charts("pictures-plain")


def test_a_failed_variant_shows_its_loss_and_its_study(tmp_path: Path) -> None:
    failed = {"pictures-sigmoid": "the loss is not finite"}
    made = project(tmp_path, pictures=100, repeats=1, epochs=4, failed=failed)
    drawn = reporting.PngCharts(made.config, made.root)("pictures-sigmoid")
    assert set(drawn) == SHARED | {"loss.png"}
