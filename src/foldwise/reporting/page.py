"""The report as one self-contained HTML page: tables in the HTML, charts as embedded Vega-Lite."""

import functools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import pandas as pd
from altair.utils import schemapi
from markupsafe import Markup

from foldwise.core.trees import flattened
from foldwise.metrics import METRICS, Metric
from foldwise.reporting import batchnorm, canvas, figures, inside, pairs
from foldwise.reporting.batchnorm import Claim
from foldwise.reporting.canvas import Figure
from foldwise.reporting.inside import Panel
from foldwise.reporting.tidy import run_of
from foldwise.results.comparisons import Pair
from foldwise.results.studies import StudyResults
from foldwise.wording import evidence, numbers, results
from foldwise.wording.sentences import Context, directed, marked, protocol, versus

# What the page needs of the bundle.
SNIPPET = "window.vegaEmbed = vegaEmbed;"


Facts = list[tuple[str, str]]  # rows of a table: name, value


@dataclass(frozen=True)
class PairView:
    """One comparison as the page shows it."""

    title: str
    verdict: str
    figures: list[Figure]
    numbers: Facts


@dataclass(frozen=True)
class StudyView:
    """One study as the page shows it; `test_rows` is 0 where there are none."""

    name: str
    title: str
    protocol: str
    metric: str
    splits: int
    verdicts: list[tuple[str, str]]
    columns: list[str]
    lines: list[results.Line]
    test_rows: int
    pairs: list[PairView]
    sections: dict[str, list[Figure]]
    introduction: str
    claims: list[Claim]
    panels: list[Panel]
    settings: Facts

    @property
    def figures(self) -> list[Figure]:
        """All of them, in the order of the page."""
        groups = [
            *(pair.figures for pair in self.pairs),
            *self.sections.values(),
            *(panel.figures for panel in self.panels),
        ]
        return [figure for group in groups for figure in group]


def html(
    studies: Sequence[StudyResults],
    commit: str | None = None,
    links: Mapping[str, str] | None = None,
) -> str:
    """The whole page.

    Args:
        studies: what to tell.
        commit: shown where it is given; by default the page depends on the results alone.
        links: variant → address of its run in MLflow.
    """
    with schemapi.debug_mode(False):  # Altair's checks of each part; the tests have them on
        return _html(studies, commit, links or {})


def _html(studies: Sequence[StudyResults], commit: str | None, links: Mapping[str, str]) -> str:
    bundle = _bundle()
    overview = pairs.overview(studies)
    views = [_study_view(study) for study in studies]
    drawn = {"overview": overview} if overview else {}
    for view in views:
        drawn |= {_identifier(view.name, figure): figure for figure in view.figures}
    return (
        _environment()
        .get_template("report.html")
        .render(
            overview=overview,
            better=_better(studies),
            views=views,
            links=links,
            made_with=_versions(studies) + ([("commit", commit)] if commit else []),
            lower_is_better=_titles(lambda metric: metric.direction == -1),
            pooled=_titles(lambda metric: metric.pooled),
            synthetic=[study.name for study in studies if study.comparison.synthetic],
            specs=_json({name: _packed(figure.spec) for name, figure in drawn.items()}),
            theme=_json(_theme()),
            bundle=Markup(bundle.result()),
        )
    )


# --- views ------------------------------------------------------------------------------------


def _study_view(study: StudyResults) -> StudyView:
    comparison, context = study.comparison, Context.of(study.comparison)
    panels = inside.panels(study)
    tests = [result.metrics.test for result in study.complete]
    return StudyView(
        name=study.name,
        title=marked(study.name, comparison.synthetic),
        protocol=protocol(comparison.protocol, comparison.edition),
        metric=context.metric.title,
        splits=comparison.protocol.splits,
        verdicts=results.verdicts(comparison),
        columns=results.columns(study),
        lines=results.lines(study),
        test_rows=max((test.rows for test in tests if test), default=0),
        pairs=[_pair_view(pair, context) for pair in comparison.made],
        sections=figures.study_figures(study),
        introduction=inside.introduction(study) if panels else "",
        claims=batchnorm.claims(study),
        panels=panels,
        settings=_settings(study),
    )


def _pair_view(pair: Pair, context: Context) -> PairView:
    return PairView(
        title=marked(versus(pair), context.synthetic),
        verdict=pair.verdict,
        figures=figures.pair_figures(pair, context),
        numbers=evidence.rows(pair, context),
    )


def _settings(study: StudyResults) -> Facts:
    comparison = study.comparison
    tree = flattened(comparison.protocol.model_dump(mode="json"))
    return [
        ("edition", comparison.edition),
        ("primary metric", METRICS[comparison.metric].title),
        ("rope", f"{comparison.rope:g}"),
        *((key, str(value)) for key, value in tree.items() if not isinstance(value, list)),
    ]


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


def _better(studies: Sequence[StudyResults]) -> str:
    """What a difference above 0 says, for the primary metrics of the studies."""
    names = dict.fromkeys(study.comparison.metric for study in studies)
    return " or ".join(directed(METRICS[name]) for name in names)


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
        "identifier": _identifier,
        "table": _table,
        "asset": _trusted,
        "thousands": numbers.thousands,
    }
    return environment


def _bound(content: Any) -> Any:
    """Text in which no line breaks between a number and its unit."""
    if not isinstance(content, str) or isinstance(content, Markup):
        return content
    return re.sub(r"(?<=[\d\]]) (?=%|pp\b|nats\b)", "\u00a0", content)


def _identifier(study: str, figure: Figure) -> str:
    return f"{study}--{figure.name}"


def _theme() -> dict[str, Any]:
    """Ink from the page, legends in HTML, where they wrap."""
    theme = canvas.theme("currentColor")
    return theme | {"legend": {"disable": True}}


def _table(frame: pd.DataFrame) -> list[list[str]]:
    """The cells of a figure's table: heading first."""
    cells = [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    return [[str(column) for column in frame.columns], *cells]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return numbers.NONE if not numbers.known(value) else f"{value:.4g}".replace("-", "−")
    return str(value)


def _asset(name: str) -> str:
    return (resources.files("foldwise.reporting") / "templates" / name).read_text(encoding="utf-8")


def _trusted(name: str) -> Markup:
    """A style sheet or script of this package, not escaped."""
    return Markup(_asset(name))


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
def _bundle() -> "Future[str]":
    """Vega, Vega-Lite and vega-embed as one script, from the installed vl-convert.

    Made once, while charts are drawn; by another process, as it holds the interpreter's lock.
    """
    pool = ThreadPoolExecutor(1)
    made = pool.submit(_make_bundle)
    pool.shutdown(wait=False)
    return made


def _make_bundle() -> str:
    code = "import sys, vl_convert; print(vl_convert.javascript_bundle(sys.argv[1]), end='')"
    command = [sys.executable, "-X", "utf8", "-c", code, SNIPPET]
    made = subprocess.run(command, check=True, capture_output=True, encoding="utf-8")
    return made.stdout.replace("</script", "<\\/script")
