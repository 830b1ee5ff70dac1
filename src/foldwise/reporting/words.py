"""Numbers and protocols in plain words, and the tables made of text."""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from foldwise.core.errors import ResultsError
from foldwise.core.files import write_text
from foldwise.reporting.story import StudyResults, VariantResults

BEGIN = "<!-- results:begin -->"
END = "<!-- results:end -->"
NONE = "–"
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

PREPROCESSING = {
    "none": "features not standardised",
    "standardize": "features standardised inside each training fold",
    "minmax": "features scaled to [0, 1] inside each training fold",
}


# --- numbers ----------------------------------------------------------------------------------


def known(value: Any) -> bool:
    """Whether there is a finite number to show."""
    return value is not None and math.isfinite(float(value))


def number(value: Any, digits: int = 3, sign: str = "-") -> str:
    """A number with a true minus sign; `sign="+"` shows a plus as well."""
    if not known(value):
        return NONE
    nearest = round(float(value), digits) + 0.0  # no negative zero
    return f"{nearest:{sign}.{digits}f}".replace("-", "−")


def percent(value: Any, digits: int = 1) -> str:
    """A share as a percentage."""
    return f"{number(100 * float(value), digits)} %" if known(value) else NONE


def points(value: Any, sign: str = "+", digits: int = 1) -> str:
    """A difference of shares in percentage points."""
    return f"{number(100 * float(value), digits, sign)} pp" if known(value) else NONE


def interval(low: Any, high: Any) -> str:
    """An interval of shares in percent."""
    if not (known(low) and known(high)):
        return NONE
    return f"[{number(100 * float(low), 1)}, {number(100 * float(high), 1)}] %"


def points_interval(ends: Sequence[float]) -> str:
    """An interval of differences in percentage points, as precise as the verdict's sentence."""
    low, high = (number(100 * end, 2, "+") for end in ends)
    return f"[{low}, {high}] pp"


def p_value(value: Any) -> str:
    """A p value; below a thousandth only that."""
    if not known(value):
        return f"p {NONE}"
    return "p < 0.001" if float(value) < 0.001 else f"p = {number(value)}"


def short(value: Any) -> str:
    """A number with two significant digits: 150, 0.31, 9.4·10⁻⁵."""
    if not known(value):
        return NONE
    if abs(value) >= 10 or value == 0:
        return number(value, 0)
    if abs(value) >= 1e-3:
        return number(value, 1 - math.floor(math.log10(abs(value))))
    digits, exponent = f"{value:.1e}".split("e")
    return f"{typeset(digits)}·10{str(int(exponent)).translate(SUPERSCRIPT)}"


def versus(pair: dict[str, Any]) -> str:
    """A pair as the question asks it: B against A."""
    return f"{pair['b']} vs {pair['a']}"


def splits_of(study: StudyResults) -> str:
    """Folds, repeats and splits: `10 folds × 5 repeats = 50 splits`."""
    folds, repeats = study.protocol.get("folds"), study.protocol.get("repeats")
    times = "repeat" if repeats == 1 else "repeats"
    return f"{folds} folds × {repeats} {times} = {study.splits} splits"


def data_of(study: StudyResults) -> str:
    """Data set and edition; a stand-in is called one."""
    edition = "synthetic stand-in" if study.synthetic else f"edition {study.edition}"
    return f"{study.protocol.get('dataset', study.name)} ({edition})"


def protocol(study: StudyResults) -> str:
    """The whole protocol in one sentence."""
    return (
        f"Data: {data_of(study)}; stratified cross-validation, {splits_of(study)}, "
        f"the same splits for every variant; {training(study.protocol.get('training', {}))}"
    )


def training(settings: dict[str, Any]) -> str:
    """The training settings that decide a result, as a phrase."""
    phrases = []
    if "epochs" in settings:
        phrases.append(f"{settings['epochs']} epochs in batches of {settings['batch_size']}")
    if "optimizer" in settings:
        phrases.append(optimizer(settings["optimizer"]))
    if "shuffle" in settings:
        phrases.append("reshuffled every epoch" if settings["shuffle"] else "rows in file order")
    if "same_init" in settings:
        same = "the same initial weights" if settings["same_init"] else "new initial weights"
        phrases.append(f"{same} in every split")
    if "preprocessing" in settings:
        phrases.append(PREPROCESSING.get(settings["preprocessing"], settings["preprocessing"]))
    return f"{', '.join(phrases)}." if phrases else "training settings not recorded."


def optimizer(settings: dict[str, Any]) -> str:
    """An optimizer with the settings that are not zero: `sgd (lr 0.01, momentum 0.8)`."""
    shown = [f"{key} {value}" for key, value in settings.items() if key != "name" and value]
    return f"{settings.get('name', 'optimizer')} ({', '.join(shown)})"


def marked(study: StudyResults, text: str) -> str:
    """A title; results on synthetic data carry the word."""
    return f"{text} (synthetic data)" if study.synthetic else text


def thousands(count: int) -> str:
    """A count with narrow spaces: 50 000."""
    return f"{count:,}".replace(",", "\u202f")


# --- the results table ------------------------------------------------------------------------


def result_columns(study: StudyResults) -> list[str]:
    """The headings of a study's results table."""
    columns = ["variant", "accuracy", "95 % CI, corrected", "SD over splits", "splits"]
    if tested(study):
        columns.append("test accuracy, refit")
    return [*columns, "log-loss", "Brier", "accuracy gap"]


def result_rows(study: StudyResults) -> list[list[str]]:
    """The cells of a study's results table; a failed variant has its reason instead."""
    return [_result_row(study, variant) for variant in study.variants]


def tested(study: StudyResults) -> bool:
    """Whether the data set of the study has test rows that were scored."""
    return any(variant.metrics.get("test") for variant in study.complete)


def _result_row(study: StudyResults, variant: VariantResults) -> list[str]:
    blanks = len(result_columns(study)) - 2
    if variant.failed:
        return [variant.name, f"failed: {variant.reason or 'no reason recorded'}", *[NONE] * blanks]
    metrics = variant.metrics
    accuracy = metrics["accuracy"]
    row = [
        variant.name,
        percent(accuracy["mean"]),
        interval(accuracy["ci95_low"], accuracy["ci95_high"]),
        points(accuracy["sd_over_splits"], sign="-"),
        str(metrics["splits"]),
    ]
    if tested(study):
        row.append(percent((metrics.get("test") or {}).get("refit_accuracy")))
    return [
        *row,
        number(metrics["log_loss"]["mean"]),
        number(metrics["brier"]["mean"]),
        points(metrics["gap"]["accuracy"]),
    ]


def verdicts(study: StudyResults) -> list[tuple[str, str]]:
    """(verdict, sentence) of every comparison; a refused one says why."""
    made = [(pair["verdict"], answer(pair)) for pair in study.pairs]
    refused = [("Not compared", f"{versus(pair)}: {pair['refused']}") for pair in study.refused]
    return made + refused


def answer(pair: dict[str, Any]) -> str:
    """The sentence of a comparison without the verdict that it begins with."""
    return typeset(str(pair["sentence"]).removeprefix(f"{pair['verdict']}: "))


def typeset(text: str) -> str:
    """Text with a true minus sign in front of its negative numbers."""
    return re.sub(r"(?<![\w.-])-(?=\d)", "−", text)


# --- README and terminal ----------------------------------------------------------------------


def readme_table(studies: Iterable[StudyResults]) -> str:
    """The results of all studies as Markdown: protocol, table, one verdict per pair."""
    return "\n\n".join(_markdown(study) for study in studies)


def update_readme(path: Path, markdown: str) -> None:
    """Replace what is between the results markers of a Markdown file.

    Raises:
        ResultsError: the file or a marker is missing, or the markers are in the wrong order.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ResultsError(f"{path}: not found; it must hold {BEGIN} and {END}") from None
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ResultsError(
            f"{path}: needs the lines {BEGIN} and {END}, once each and in this order"
        )
    write_text(path, f"{head}{BEGIN}\n{markdown.strip()}\n{END}{tail}")


def text_table(studies: Iterable[StudyResults]) -> str:
    """The results of all studies as aligned text for a terminal."""
    return "\n\n".join(_text(study) for study in studies)


def _markdown(study: StudyResults) -> str:
    columns = result_columns(study)
    lines = [
        _markdown_row(columns),
        _markdown_row(["---", *["---:"] * (len(columns) - 1)]),
        *(_markdown_row(row) for row in result_rows(study)),
    ]
    answers = [f"- **{verdict}**: {sentence}" for verdict, sentence in verdicts(study)]
    parts = [f"### {marked(study, study.name)}", protocol(study), "\n".join(lines)]
    return "\n\n".join([*parts, "\n".join(answers)]).strip()


def _markdown_row(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _text(study: StudyResults) -> str:
    rows = [result_columns(study), *result_rows(study)]
    filled = [row for row in rows if not row[1].startswith("failed")]
    widths = [max(len(row[i]) for row in filled) for i in range(len(rows[0]))]
    lines = [_text_row(row, widths) for row in rows]
    answers = [f"{verdict}: {sentence}" for verdict, sentence in verdicts(study)]
    return "\n".join([marked(study, study.name), protocol(study), "", *lines, "", *answers]).strip()


def _text_row(row: Sequence[str], widths: Sequence[int]) -> str:
    if row[1].startswith("failed"):
        return f"{row[0].ljust(widths[0])}  {row[1]}"
    cells = [row[0].ljust(widths[0])]
    cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
    return "  ".join(cells).rstrip()
