"""What MLflow shows in Markdown: descriptions of runs, registered models and their versions."""

from foldwise.metrics import METRICS
from foldwise.results.comparisons import Comparison, Pair
from foldwise.results.evaluations import Metrics
from foldwise.results.runs import Manifest
from foldwise.wording import numbers, sentences
from foldwise.wording.sentences import Context
from foldwise.wording.tables import plain

SYNTHETIC = "**SYNTHETIC DATA**: a built-in stand-in; these numbers say nothing about real data."
FIRST = "the study's baseline, for want of a champion"
FOLLOWS = "new results of the champion's variant"


def run(manifest: Manifest, metrics: Metrics | None, comparison: Comparison | None) -> str:
    """A variant's run: score, verdicts, protocol, where to go on."""
    variant = manifest.variant
    failure = f"**Failed**: {plain(manifest.reason)}" if manifest.reason else ""
    verdicts = []
    if comparison is not None:
        context = Context.of(comparison)
        verdicts = [
            sentences.sentence(pair, context) if isinstance(pair, Pair) else plain(pair.refused)
            for pair in comparison.pairs
            if variant.name in (pair.a, pair.b)
        ]
    links = (
        f"See the [models of this study](#/models/{variant.study}) (`champion` among them); "
        "`foldwise report` writes the pictures, with links back here."
    )
    parts = [_warning(manifest), failure, _score(metrics), *(f"- {each}" for each in verdicts)]
    parts += [_protocol(manifest), links]
    return _paragraphs(*parts)


def training(manifest: Manifest, status: str, progress: str) -> str:
    """A variant's run while it trains; `progress` says how far it is."""
    said = f"**Training, {status}**: {progress}"
    return _paragraphs(_warning(manifest), said, _protocol(manifest))


def progress(epoch: int, epochs: int, models: int, accuracy: float | None) -> str:
    """How far a training is; `accuracy` is the mean on held-out rows, where there is one."""
    text = f"epoch {epoch} of {epochs}, {sentences.counted(models, 'model')}"
    if accuracy is None:
        return text
    return f"{text}, mean validation accuracy {numbers.percent(accuracy)}"


def model(manifest: Manifest, champion: str) -> str:
    """A study's registered model; `champion` is the alias of its best version."""
    data, classes = manifest.dataset, plain(", ".join(manifest.dataset.class_names))
    return _paragraphs(
        _warning(manifest),
        f"Data `{data.name}` (edition {data.edition}), classes: {classes}.",
        _protocol(manifest),
        "A version is one variant's network, trained on all rows; its scores are those of the "
        f"networks of the folds. `{champion}` is the one to use; its tags say since when and why.",
    )


def version(variant: str, description: str) -> str:
    """A version of a registered model; `description` is that of the variant's run."""
    return _paragraphs(f"`{variant}`, trained on all rows.", description)


def better(pair: Pair, comparison: Comparison) -> str:
    """Why a variant takes the alias: the whole verdict."""
    return sentences.sentence(pair, Context.of(comparison))


def better_in_short(pair: Pair, comparison: Comparison) -> str:
    """The same in short, for a terminal."""
    return f"{pair.verdict}: {sentences.difference(pair, Context.of(comparison))}"


def _paragraphs(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _warning(manifest: Manifest) -> str:
    return SYNTHETIC if manifest.dataset.synthetic else ""


def _score(metrics: Metrics | None) -> str:
    if metrics is None or not metrics.complete:
        return ""
    metric, score = METRICS[metrics.metric], metrics.primary
    scale = numbers.scale(metric)
    low = numbers.number(scale.factor * (score.ci95_low or 0.0), 3 - scale.digits)
    high = numbers.in_unit(score.ci95_high, metric)
    sd = numbers.difference(score.sd_over_splits, metric, digits=3, sign="-")
    return (
        f"{metric.title[0].upper()}{metric.title[1:]} **{numbers.in_unit(score.mean, metric)}** "
        f"(95 % CI {low} to {high}, SD over {metrics.splits} splits {sd})"
    )


def _protocol(manifest: Manifest) -> str:
    variant, data = manifest.variant, manifest.dataset
    cv, training = variant.cv, variant.training
    order = "reshuffled every epoch" if training.shuffle else "rows in file order"
    return (
        f"Protocol: study `{variant.study}`, data `{data.name}` (edition {data.edition}, "
        f"{data.rows} rows), stratified {cv.folds}-fold × {cv.repeats}, "
        f"{training.epochs} epochs of batches of {training.batch_size}, {order}, "
        f"preprocessing {training.preprocessing}."
    )
