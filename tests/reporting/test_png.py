"""The charts that tracking shows in MLflow."""

import io
import pickle
from pathlib import Path

import pytest
from fabricate import Cache, Project, lessons
from PIL import Image

from foldwise import reporting
from foldwise.core import paths
from foldwise.reporting import png

SHARED = {"inside.png", "overview.png", "validation-accuracy.png"}
SMALL = lessons(pictures=100, repeats=1, epochs=4)


@pytest.fixture
def small(fabricated: Cache) -> Project:
    return fabricated.shared(SMALL)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What would be drawn: which charts there are can be told without drawing them."""
    asked: list[object] = []
    monkeypatch.setattr(png, "png", lambda spec, scale=1: asked.append(spec) or b"")
    return asked


def test_a_variant_shows_its_own_charts_its_comparisons_and_its_study(small: Project) -> None:
    pictures = reporting.PngCharts(small.config, small.root)("echoes-input-dropout")
    compared = {"differences-echoes-input-dropout-vs-echoes-baseline.png"}
    assert set(pictures) == SHARED | compared | {"loss.png", "confusion.png"}
    for name, content in pictures.items():
        with Image.open(io.BytesIO(content)) as picture:
            assert picture.format == "PNG", name
            assert min(picture.size) > 200, name


def test_the_same_results_give_the_same_bytes(small: Project) -> None:
    first, second = (
        reporting.PngCharts(small.config, small.root)("echoes-baseline") for _ in range(2)
    )
    assert first == second


def test_nothing_is_read_before_it_is_asked_for_and_nothing_drawn_twice(
    small: Project, drawn: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, read_study = [], reporting.read_study
    monkeypatch.setattr(reporting, "read_study", lambda *a: read.append(a) or read_study(*a))
    charts = reporting.PngCharts(small.config, small.root)
    assert (len(read), len(drawn)) == (0, 0)
    assert len(charts("echoes-baseline")) == len(SHARED) + 2 + 2  # it is in both comparisons
    before = len(drawn)
    charts("echoes-input-dropout")
    assert (len(read), len(drawn) - before) == (1, 2)  # loss and confusion, the rest is there


@pytest.mark.usefixtures("drawn")
def test_a_study_without_all_its_results_has_no_charts_yet(
    fabricated: Cache, tmp_path: Path
) -> None:
    made = fabricated.copy(tmp_path, SMALL)
    (tmp_path / paths.metrics("echoes-input-dropout")).unlink()
    charts = reporting.PngCharts(made.config, made.root)
    assert charts("echoes-baseline") == {}
    assert "loss.png" in charts("pictures-plain")


@pytest.mark.usefixtures("drawn")
def test_a_failed_variant_shows_its_loss_and_its_study(fabricated: Cache) -> None:
    made = fabricated.shared(SMALL, failed={"pictures-sigmoid": "the loss is not finite"})
    pictures = reporting.PngCharts(made.config, made.root)("pictures-sigmoid")
    assert set(pictures) == SHARED | {"loss.png"}


@pytest.mark.usefixtures("drawn")
def test_charts_travel_to_the_process_that_draws(small: Project) -> None:
    charts = pickle.loads(pickle.dumps(reporting.PngCharts(small.config, small.root)))
    assert "loss.png" in charts("pictures-plain")
