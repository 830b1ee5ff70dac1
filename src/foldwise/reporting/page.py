"""The report as one self-contained HTML page: tables in the HTML, charts as embedded Vega-Lite."""

import functools
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import pandas as pd
from altair.utils import schemapi
from markupsafe import Markup

from foldwise.reporting import canvas, claims, figures, inside, pairs, words
from foldwise.reporting.canvas import Figure
from foldwise.reporting.story import StudyResults

# What the page needs of the bundle.
SNIPPET = "window.vegaEmbed = vegaEmbed;"


@dataclass(frozen=True)
class PairView:
    """One comparison as the page shows it."""

    title: str
    verdict: str
    sentence: str
    figures: list[Figure]
    numbers: list[tuple[str, str]]


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
    drawn = {**({"overview": overview} if overview else {})}
    for view in views:
        drawn |= {_identifier(view["study"], figure): figure for figure in view["figures"]}
    return (
        _environment()
        .get_template("report.html")
        .render(
            overview=overview,
            views=views,
            commit=commit,
            links=links,
            versions=_versions(studies),
            synthetic=[study.name for study in studies if study.synthetic],
            specs=_json({name: _packed(figure.spec) for name, figure in drawn.items()}),
            theme=_json(_theme()),
            bundle=Markup(bundle.result()),
        )
    )


def pair_numbers(study: StudyResults, pair: dict[str, Any]) -> list[tuple[str, str]]:
    """Every number of a comparison with its name, for the table below its charts."""
    rows = [
        ("mean difference", words.points(pair["mean"], digits=2)),
        ("95 % CI, corrected", words.points_interval(pair["ci95"])),
        ("paired splits", words.splits_of(study)),
        ("rows, each held out once in every repeat", words.thousands(pair["n"])),
        ("SD over splits", words.points(pair["sd"], "-", 2)),
        ("standard error, corrected", words.points(pair["se"], "-", 2)),
        ("corrected t-test", _test(pair)),
        ("p after Holm, over the pairs of this study", words.p_value(pair["p_holm"])),
        ("naive p, which takes splits for independent: do not trust", _naive(pair)),
        ("minimum detectable effect (power 80 %)", words.points(pair["mde"], "-", 2)),
    ]
    return [*rows, *_rope_rows(study, pair), *_exploratory_rows(pair), *_secondary_rows(pair)]


def _study_view(study: StudyResults) -> dict[str, Any]:
    compared = [_pair_view(study, pair) for pair in study.pairs]
    sections = figures.study_figures(study)
    drawn = [figure for pair in compared for figure in pair.figures]
    drawn += [figure for section in sections.values() for figure in section]
    probed = inside.groups(study)
    drawn += [figure for group in probed for figure in group.figures]
    return {
        "study": study,
        "title": words.marked(study, study.name),
        "protocol": words.protocol(study),
        "settings": _settings(study.protocol),
        "columns": words.result_columns(study),
        "rows": words.result_rows(study),
        "pairs": compared,
        "sections": sections,
        "inside": probed,
        "introduction": inside.introduction(study) if probed else "",
        "claims": claims.answered(study),
        "figures": drawn,
        "test_rows": _test_rows(study),
    }


def _pair_view(study: StudyResults, pair: dict[str, Any]) -> PairView:
    return PairView(
        title=words.versus(pair),
        verdict=pair["verdict"],
        sentence=words.answer(pair),
        figures=figures.pair_figures(study, pair),
        numbers=pair_numbers(study, pair),
    )


def _test(pair: dict[str, Any]) -> str:
    if not words.known(pair.get("t")):
        return words.NONE
    return f"t({pair['df']}) = {words.number(pair['t'], 2)}, {words.p_value(pair['p'])}"


def _naive(pair: dict[str, Any]) -> str:
    return words.p_value(pair.get("naive_p"))


def _rope_rows(study: StudyResults, pair: dict[str, Any]) -> list[tuple[str, str]]:
    declared = {"rope": study.rope, **pair["posterior"]}
    return [
        (
            f"worse / practically the same / better at ±{words.points(row['rope'], '-')}",
            " / ".join(words.percent(row[k]) for k in ("worse", "equivalent", "better")),
        )
        for row in [declared, *pair.get("ropes", [])]
    ]


def _exploratory_rows(pair: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (
            f"{name.replace('_', '-')}, B − A (exploratory; below 0 is better)",
            f"{words.number(row['mean'], 4, '+')}, 95 % CI "
            f"[{words.number(row['ci95'][0], 4, '+')}, {words.number(row['ci95'][1], 4, '+')}], "
            f"{words.p_value(row['p'])}",
        )
        for name, row in pair.get("exploratory", {}).items()
        if row
    ]


def _secondary_rows(pair: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        (
            f"McNemar, repeat {test['repeat']} (trained models held fixed)",
            f"only A right {test['only_a']}, only B right {test['only_b']}, "
            f"{words.p_value(test['p'])}",
        )
        for test in pair.get("mcnemar", [])
    ]
    if bootstrap := pair.get("bootstrap"):
        mean, interval = words.points(bootstrap["mean"], digits=2), bootstrap["ci95"]
        text = f"{mean}, 95 % CI {words.points_interval(interval)}"
        rows.append((f"row bootstrap, {bootstrap['replicates']} replicates (models fixed)", text))
    return rows


def _settings(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested mapping as (dotted key, value) rows."""
    rows = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            rows += _settings(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            rows.append((f"{prefix}{key}", str(value)))
    return rows


def _versions(studies: Sequence[StudyResults]) -> list[tuple[str, str]]:
    """Versions that the runs were made with; several where the runs differ."""
    found: dict[str, set[str]] = {}
    for variant in (variant for study in studies for variant in study.variants):
        for name, version in _settings(variant.manifest.get("versions", {})):
            found.setdefault(name, set()).add(version)
        found.setdefault("device", set()).add(str(variant.manifest.get("device", "unknown")))
    return [(name, ", ".join(sorted(values))) for name, values in sorted(found.items())]


def _test_rows(study: StudyResults) -> int:
    tests = (variant.metrics.get("test") or {} for variant in study.complete)
    return max((int(test.get("rows", 0)) for test in tests), default=0)


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
        "thousands": words.thousands,
    }
    return environment


def _bound(content: Any) -> Any:
    """Text in which no line breaks between a number and its unit."""
    if not isinstance(content, str) or isinstance(content, Markup):
        return content
    return re.sub(r"(?<=[\d\]]) (?=%|pp\b)", "\u00a0", content)


def _identifier(study: StudyResults, figure: Figure) -> str:
    return f"{study.name}--{figure.name}"


def _theme() -> dict[str, Any]:
    """Ink from the page, legends in HTML, where they wrap."""
    theme = canvas.config("currentColor")
    return theme | {"legend": {"disable": True}}


def _table(frame: pd.DataFrame) -> list[list[str]]:
    """The cells of a figure's table: heading first."""
    cells = [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    return [[str(column) for column in frame.columns], *cells]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return words.NONE if not words.known(value) else f"{value:.4g}".replace("-", "−")
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
