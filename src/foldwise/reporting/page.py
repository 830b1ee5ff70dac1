"""The report as one self-contained HTML page: tables in the HTML, charts as embedded Vega-Lite."""

import functools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any

import jinja2
import pandas as pd
from altair.utils import schemapi
from markupsafe import Markup

from foldwise.core.trees import flattened
from foldwise.metrics import METRICS, Metric
from foldwise.reporting import batchnorm, canvas, classes, inside, learning, pairs
from foldwise.reporting.canvas import Figure
from foldwise.reporting.tidy import run_of
from foldwise.results.comparisons import Pair
from foldwise.results.studies import StudyResults
from foldwise.wording import evidence, numbers, results
from foldwise.wording.sentences import Context, directed, marked, protocol, stand_in, versus

Facts = list[tuple[str, str]]  # rows of a table: name, value


def html(studies: Sequence[StudyResults], commit: str | None, links: Mapping[str, str]) -> str:
    """The whole page; see `write_report`."""
    bundle = _bundle()  # is made while charts are drawn
    metrics = dict.fromkeys(study.comparison.metric for study in studies)
    with schemapi.debug_mode(False):  # Altair's checks of each part; the tests have them on
        overview = pairs.overview(studies)
        views = [_view(study) for study in studies]
        drawn = {"overview": overview} if overview else {}
        for view in views:
            drawn |= {f"{view['name']}--{figure.name}": figure for figure in view["figures"]}
        specs = {name: _packed(figure.spec) for name, figure in drawn.items()}
    return (
        _environment()
        .get_template("report.html")
        .render(
            overview=overview,
            better=" or ".join(directed(METRICS[name]) for name in metrics),
            views=views,
            links=links,
            made_with=_versions(studies) + ([("commit", commit)] if commit else []),
            lower_is_better=_titles(lambda metric: metric.direction == -1),
            pooled=_titles(lambda metric: metric.pooled),
            synthetic=[study.name for study in studies if study.comparison.synthetic],
            notice=stand_in(sorted({study.study.dataset for study in studies if study.stand_in})),
            specs=_json(specs),
            # Ink from the page, legends in HTML, where they wrap.
            theme=_json(canvas.theme("currentColor") | {"legend": {"disable": True}}),
            bundle=Markup(bundle()),
        )
    )


# --- what the page shows ----------------------------------------------------------------------


def study_figures(study: StudyResults) -> dict[str, list[Figure]]:
    """The figures of a study's variants by section, in the order of the page."""
    sections = {
        "Learning curves": [
            *learning.accuracy_curves(study),
            *learning.gap_curves(study),
            *learning.loss_curves(study),
        ],
        "Classes": [*classes.recall(study), *classes.confusion_matrices(study)],
        "Calibration": list(classes.calibration(study)),
    }
    return {heading: figures for heading, figures in sections.items() if figures}


def pair_figures(pair: Pair, context: Context) -> list[Figure]:
    """The figures of one comparison: paired differences, and the posterior of their mean."""
    return [*pairs.differences(pair, context), *pairs.posterior(pair, context)]


def _view(study: StudyResults) -> dict[str, Any]:
    """One study as the template takes it."""
    comparison, context = study.comparison, Context.of(study.comparison)
    compared: list[dict[str, Any]] = [
        {
            "title": marked(versus(pair), context.synthetic),
            "verdict": pair.verdict,
            "figures": pair_figures(pair, context),
            "numbers": evidence.rows(pair, context),
        }
        for pair in comparison.made
    ]
    sections, panels = study_figures(study), inside.panels(study)
    groups = [
        *(pair["figures"] for pair in compared),
        *sections.values(),
        *(panel.figures for panel in panels),
    ]
    settings = flattened(comparison.protocol.model_dump(mode="json"))
    tests = [result.metrics.test for result in study.complete]
    return {
        "name": study.name,
        "title": marked(study.name, comparison.synthetic),
        "protocol": protocol(comparison.protocol, comparison.edition),
        "metric": context.metric.title,
        "splits": comparison.protocol.splits,
        "verdicts": results.verdicts(comparison),
        "columns": results.columns(study),
        "lines": results.lines(study),
        "test_rows": max((test.rows for test in tests if test), default=0),
        "pairs": compared,
        "sections": sections,
        "introduction": inside.introduction(study) if panels else "",
        "claims": batchnorm.claims(study),
        "panels": panels,
        "settings": [
            ("edition", comparison.edition),
            ("primary metric", context.metric.title),
            ("rope", f"{comparison.rope:g}"),
            *((key, str(value)) for key, value in settings.items() if not isinstance(value, list)),
        ],
        "figures": [figure for group in groups for figure in group],
    }


def _versions(studies: Sequence[StudyResults]) -> Facts:
    """Versions that the runs were made with; several where the runs differ."""
    found: dict[str, set[str]] = {}
    for result in (result for study in studies for result in study.results):
        manifest = run_of(result).manifest
        for name, version in {**manifest.versions, "device": manifest.device}.items():
            found.setdefault(name, set()).add(version)
    return [(name, ", ".join(sorted(values))) for name, values in sorted(found.items())]


def _titles(chosen: Callable[[Metric], bool]) -> str:
    return " and ".join(metric.title for metric in METRICS.values() if chosen(metric))


# --- HTML -------------------------------------------------------------------------------------


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_bound,
    )
    environment.globals |= {
        "table": _table,
        "asset": lambda name: Markup(_asset(name)),
        "thousands": numbers.thousands,
    }
    return environment


def _asset(name: str) -> str:
    return (resources.files("foldwise.reporting") / "templates" / name).read_text(encoding="utf-8")


def _bound(content: Any) -> Any:
    """Text in which no line breaks between a number and its unit."""
    if not isinstance(content, str) or isinstance(content, Markup):
        return content
    return re.sub(r"(?<=[\d\]]) (?=%|pp\b|nats\b)", "\u00a0", content)


def _table(frame: pd.DataFrame) -> list[list[str]]:
    """The cells of a figure's table: heading first."""
    cells = [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    return [[str(column) for column in frame.columns], *cells]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−") if numbers.known(value) else numbers.NONE
    return str(value)


def _json(content: Any) -> Markup:
    """JSON that cannot end the script element that holds it."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def _packed(spec: dict[str, Any]) -> dict[str, Any]:
    """A chart whose data are columns, not rows: less than half the size; report.js turns them."""
    data = {
        name: {key: _column([row[key] for row in rows]) for key in rows[0]}
        for name, rows in spec["datasets"].items()
    }
    return spec | {"datasets": data}


def _column(values: list[Any]) -> list[Any] | dict[str, list[Any]]:
    """Values; of a column of texts, every text once and the places where it stands."""
    if not all(isinstance(value, str) for value in values):
        return values
    texts = {text: place for place, text in enumerate(dict.fromkeys(values))}
    return {"of": list(texts), "at": [texts[value] for value in values]}


@functools.cache
def _bundle() -> Callable[[], str]:
    """Vega, Vega-Lite and vega-embed as one script, from the installed vl-convert.

    Begun here and had by calling what this returns; by another process, since it takes a second
    and holds the interpreter's lock.
    """
    code = "import vl_convert; print(vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed;'))"
    process = subprocess.Popen(
        [sys.executable, "-X", "utf8", "-c", code], stdout=subprocess.PIPE, encoding="utf-8"
    )

    @functools.cache
    def made() -> str:
        script, _ = process.communicate()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, "vl_convert")
        return script.replace("</script", "<\\/script")

    return made
