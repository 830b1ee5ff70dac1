"""Run folders → what each MLflow run is to say. Imports no mlflow.

Identity: `spec` says what was asked for (data, splits, settings, code), `outputs` what came out.
Two MLflow runs with equal `spec` and `outputs` are the same run.
"""

import getpass
import json
import math
import re
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from foldwise import results
from foldwise.core import files, paths
from foldwise.core.errors import ResultsError
from foldwise.tracking import place

SPEC, OUTPUTS, SUMMARY = "foldwise.spec", "foldwise.outputs", "foldwise.summary"
CURRENT, CREATED = "foldwise.current", "foldwise.created"
LIVE = "foldwise.live"  # which training a run shows that has no outputs yet
BACKFILLED = "foldwise.backfilled"  # tag of runs whose results came from a commit
NOTE = "mlflow.note.content"
LONGEST = 500  # characters of a parameter
LONGEST_NOTE = 7500  # MLflow takes 8000 in a tag
CURVES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
FINALS = ("accuracy", "log_loss", "brier", "test_accuracy")
NOT_FINALS = ("confusion",)
RESULTS = ("dvc.lock", "metrics", "comparisons", "plots", "reports", "dvc_plots")
Role = Literal["variant", "split"]


@dataclass(frozen=True)
class Point:
    """One value of a curve; `time` in milliseconds."""

    key: str
    value: float
    step: int
    time: int


@dataclass(frozen=True)
class Record:
    """One MLflow run as it has to be.

    Attributes:
        name: of the variant, or of the split.
        role: "variant" for the parent, "split" for its children.
        spec: digest of what was asked for.
        outputs: digest of what came out.
        started: milliseconds.
        finished: milliseconds.
        status: FINISHED or FAILED.
        tags: fixed when the run is created.
        params: likewise.
        facts: metrics that are logged once: machine facts.
        finals: final metrics; they may be revised when the evaluation changes.
        note: Markdown, revised likewise.
    """

    name: str
    role: Role
    spec: str
    outputs: str
    started: int
    finished: int
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    facts: dict[str, float] = field(default_factory=dict)
    finals: dict[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def summary(self) -> str:
        """Digest of what may be revised."""
        return files.digest([self.finals, self.note])


@dataclass(frozen=True)
class VariantRun:
    """The run folder of one variant, with its metrics and its study's comparisons."""

    root: Path
    name: str
    manifest: dict[str, Any]
    context: Mapping[str, str]

    @property
    def current(self) -> str:
        """Whether these are the project's own results, not a queued experiment's or a commit's."""
        return _text(BACKFILLED not in self.context and not place.is_experiment(self.root))

    @property
    def study(self) -> str:
        """The study that it was trained in, which is its experiment."""
        return str(self.manifest["variant"]["study"])

    @property
    def dataset(self) -> dict[str, Any]:
        """meta.json of the data that it was trained on."""
        meta: dict[str, Any] = self.manifest["dataset"]
        return meta

    @property
    def splits(self) -> list[tuple[int, int]]:
        """(repeat, fold) along axis 0 of the weights; none of a run that failed."""
        if self.manifest["status"] != "complete":
            return []
        return [(repeat, fold) for repeat, fold in self.manifest["splits"]]

    @cached_property
    def spec(self) -> str:
        """Digest of what was asked for."""
        return files.digest(self._identity())

    @cached_property
    def outputs(self) -> str:
        """Digest of what came out."""
        return files.digest([self.spec, self.manifest["status"], self.manifest["files"]])

    @cached_property
    def attempt(self) -> str:
        """Which training this is, of all that ever were."""
        return attempt(self.root, self._facts["started"])

    @cached_property
    def parent(self) -> Record:
        """The run of the variant."""
        facts = self._facts
        return Record(
            name=self.name,
            role="variant",
            spec=self.spec,
            outputs=self.outputs,
            started=milliseconds(facts["started"]),
            finished=milliseconds(facts["finished"]),
            status="FINISHED" if self.manifest["status"] == "complete" else "FAILED",
            tags=self._tags() | self._machine_tags(),
            params=self._params(),
            facts=_machine_metrics(facts),
            finals=self._aggregates(),
            note=self._note(),
        )

    def child(self, index: int) -> Record:
        """The run of one split."""
        repeat, fold = self.splits[index]
        started, finished = self._times(repeat, fold)
        name = results.split_name(repeat, fold)
        return Record(
            name=name,
            role="split",
            spec=files.digest({**self._identity(), "split": [repeat, fold]}),
            outputs=self.outputs,
            started=started,
            finished=finished,
            status="FINISHED",
            tags=self._tags() | {"split": name, "repeat": str(repeat), "fold": str(fold)},
            params=self._params(),
            finals=self._finals(repeat, fold),
        )

    def curves(self, index: int) -> list[Point]:
        """Every finite value of every epoch of one split, at the time when it was reached."""
        table = self._by_split[self.splits[index]]
        times = (table["finished"] * 1000).round().astype("int64").tolist()
        steps = table["epoch"].astype("int64").tolist()
        return [
            Point(key, value, step, time)
            for key in CURVES
            for value, step, time in zip(table[key].tolist(), steps, times, strict=True)
            if math.isfinite(value)
        ]

    @cached_property
    def pairs(self) -> list[dict[str, Any]]:
        """The pairs of the study's comparisons; none where there are no comparisons yet."""
        pairs = _read_json(self.root / paths.comparison(self.study)).get("pairs", [])
        return list(pairs)

    def weights(self) -> dict[str, np.ndarray]:
        """The stack's parameters and buffers, name → (S, ...)."""
        return results.read_weights(self._folder)

    @property
    def _folder(self) -> Path:
        return self.root / paths.run(self.name)

    @property
    def _timeline(self) -> Path:
        """The one file that the manifest does not vouch for."""
        path = self._folder / results.TIMELINE
        if not path.is_file():
            raise ResultsError(f"{path}: missing; `dvc checkout train@{self.name}` restores it")
        return path

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return files.read_facts(self._timeline)

    @cached_property
    def _reached(self) -> pd.DataFrame:
        """When each split finished each epoch."""
        return pd.read_parquet(self._timeline)

    @cached_property
    def _begun(self) -> dict[tuple[int, int], float]:
        """When each split's training began, in seconds; empty for a run of an older foldwise."""
        rows = self._reached[self._reached["epoch"] == 0]
        columns = (rows[name].tolist() for name in ("repeat", "fold", "finished"))
        return {(repeat, fold): begun for repeat, fold, begun in zip(*columns, strict=True)}

    @cached_property
    def _by_split(self) -> dict[tuple[int, int], pd.DataFrame]:
        history = results.read_table(self._folder, results.HISTORY)
        keys = ["repeat", "fold", "epoch"]
        times = self._reached[[*keys, "finished"]]
        table = history.merge(times, on=keys, how="left").sort_values(keys)
        table["finished"] = table["finished"].fillna(self._facts["finished"])
        splits = {(int(r), int(f)) for r, f in table[["repeat", "fold"]].itertuples(index=False)}
        groups = table.groupby(["repeat", "fold"])
        return {split: groups.get_group(split) for split in splits}

    @cached_property
    def _metrics(self) -> dict[str, Any]:
        return _read_json(self.root / paths.metrics(self.name))

    @cached_property
    def _scores(self) -> dict[tuple[int, int], dict[str, float]]:
        path = self.root / paths.scores(self.name)
        if not path.is_file():
            return {}
        table = pd.read_csv(path)
        lines = table.to_dict("records")
        return {(int(line["repeat"]), int(line["fold"])): line for line in lines}  # type: ignore[misc]

    def _identity(self) -> dict[str, Any]:
        return {
            "schema": self.manifest["schema"],
            "data": self.dataset["digest"],
            "splits": self.manifest["split_digest"],
            "variant": self.manifest["variant"],
            "code": self.manifest["code_digest"],
        }

    def _tags(self) -> dict[str, str]:
        data = self.dataset
        return {
            **self.context,
            "study": self.study,
            "variant": self.name,
            "dataset": str(data["name"]),
            "edition": str(data["edition"]),
            "synthetic": _text(data["synthetic"]),
            "foldwise.data": str(data["digest"]),
        }

    def _machine_tags(self) -> dict[str, str]:
        facts = {name: self._facts.get(name) for name in ("device", "workers", "threads")}
        reason = self.manifest.get("reason")
        return {name: str(value) for name, value in facts.items() if value is not None} | (
            {"reason": str(reason)[:LONGEST]} if reason else {}
        )

    def _params(self) -> dict[str, str]:
        variant = {k: v for k, v in self.manifest["variant"].items() if k not in ("name", "study")}
        params = {key: _text(value)[:LONGEST] for key, value in _flat(variant, ".").items()}
        return params | {"parameters": str(self.manifest["parameters"])}

    def _aggregates(self) -> dict[str, float]:
        """The numbers of metrics/<variant>.json; a mean goes by the name of what it is of."""
        tree = {k: v for k, v in self._metrics.items() if k not in NOT_FINALS}
        flat = {_key(key.removesuffix("_mean")): v for key, v in _flat(tree, "_").items()}
        return {k: float(v) for k, v in flat.items() if _is_number(v)}

    def _finals(self, repeat: int, fold: int) -> dict[str, float]:
        scores = self._scores.get((repeat, fold), {})
        if fold == results.REFIT and "test" in self._metrics:
            scores = {"test_accuracy": self._metrics["test"]["refit_accuracy"]}
        return {name: float(scores[name]) for name in FINALS if _is_number(scores.get(name))}

    def _times(self, repeat: int, fold: int) -> tuple[int, int]:
        """Start and end in milliseconds; an unknown start is one mean epoch before the first."""
        table = self._by_split[repeat, fold]
        first, last = float(table["finished"].min()), float(table["finished"].max())
        epoch = (last - first) / max(len(table) - 1, 1)
        likely = max(self._facts["started"], first - epoch)
        return milliseconds(self._begun.get((repeat, fold), likely)), milliseconds(last)

    def _note(self) -> str:
        """The run's description in Markdown: verdict, score, protocol, links."""
        lines = [self.warning(), self._failure(), self._score(), *self._verdicts()]
        lines += [self.protocol(), self._links()]
        return "\n\n".join(line for line in lines if line)[:LONGEST_NOTE]

    def warning(self) -> str:
        """A line in Markdown where the data are synthetic, otherwise ""."""
        if not self.dataset["synthetic"]:
            return ""
        return "**SYNTHETIC DATA**: a built-in stand-in; these numbers say nothing about real data."

    def _failure(self) -> str:
        reason = self.manifest.get("reason")
        return f"**Failed**: {reason}" if reason else ""

    def _score(self) -> str:
        accuracy = self._metrics.get("accuracy")
        if not accuracy:
            return ""
        interval = f"{100 * accuracy['ci95_low']:.1f} to {100 * accuracy['ci95_high']:.1f} %"
        return (
            f"Accuracy **{100 * accuracy['mean']:.1f} %** (95 % CI {interval}, SD over "
            f"{self._metrics['splits']} splits {100 * accuracy['sd_over_splits']:.1f} pp)"
        )

    def _verdicts(self) -> list[str]:
        """What the study's comparisons say about this variant."""
        mine = [pair for pair in self.pairs if self.name in (pair["a"], pair["b"])]
        sentences = [pair.get("sentence") or pair.get("refused") for pair in mine]
        return [f"- {sentence}" for sentence in sentences if sentence]

    def protocol(self) -> str:
        """How it was trained, in one sentence of Markdown."""
        variant, data = self.manifest["variant"], self.dataset
        cv, training = variant["cv"], variant["training"]
        order = "reshuffled every epoch" if training["shuffle"] else "rows in file order"
        return (
            f"Protocol: study `{self.study}`, data `{data['name']}` (edition {data['edition']}, "
            f"{data['rows']} rows), stratified {cv['folds']}-fold × {cv['repeats']}, "
            f"{training['epochs']} epochs of batches of {training['batch_size']}, {order}, "
            f"preprocessing {training['preprocessing']}."
        )

    def _links(self) -> str:
        """Where to go on, by addresses that hold in any MLflow UI."""
        models = f"[models of this study](#/models/{self.study}) (`champion` among them)"
        return f"See the {models}; `foldwise report` writes the pictures, with links back here."


def read(root: Path, name: str, context: Mapping[str, str]) -> VariantRun | None:
    """The run of a variant, or None where there is no complete one.

    Raises:
        ResultsError: its manifest is damaged.
    """
    folder = root / paths.run(name)
    if not (folder / results.MANIFEST).is_file():
        return None
    return VariantRun(root, name, results.read_manifest(folder), context)


def context(root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Tags that say who tracked from which commit and, under `dvc exp`, in which experiment."""
    tags = _who("foldwise track") | {
        "experiment": environ.get("DVC_EXP_NAME", ""),
        "baseline_rev": environ.get("DVC_EXP_BASELINE_REV", ""),
    }
    commit = _git(root, "rev-parse", "HEAD")
    if commit:
        excluded = [f":(exclude){path}" for path in RESULTS]
        dirty = bool(_git(root, "status", "--porcelain", "--", ".", *excluded))
        tags |= _commit(commit, dirty)
    return {name: value for name, value in tags.items() if value}


def attempt(root: Path, started: float) -> str:
    """The training that started in a folder of this machine at a time."""
    return f"{started} {_place(root)}"


def is_of(attempt: str, root: Path) -> bool:
    """Whether a training is one of a folder of this machine."""
    return attempt.partition(" ")[2] == _place(root)


def past(root: Path, commit: str) -> dict[str, str]:
    """The same tags for results that are of a commit, or of the DVC experiment that it is."""
    tags = _who("foldwise track --rev") | _commit(commit, dirty=False) | {BACKFILLED: "true"}
    refs = _git(root, "for-each-ref", f"--points-at={commit}", "--format=%(refname)", "refs/exps")
    for ref in refs.split():
        match ref.split("/"):  # refs/exps/12/3456…/name
            case [_, _, start, rest, name] if len(start + rest) == len(commit):
                tags |= {"experiment": name, "baseline_rev": start + rest}
    return tags


# --- helpers ----------------------------------------------------------------------------------


def _place(root: Path) -> str:
    return f"{socket.gethostname()}:{root.resolve()}"


def _who(command: str) -> dict[str, str]:
    return {
        "mlflow.user": _user(),
        "mlflow.source.name": command,
        "mlflow.source.type": "LOCAL",
    }


def _commit(commit: str, dirty: bool) -> dict[str, str]:
    return {"mlflow.source.git.commit": commit, "git_commit": commit, "dirty": _text(dirty)}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return "unknown"


def _git(root: Path, *arguments: str) -> str:
    """What git answers, "" where it is not there or this is no checkout."""
    command = ["git", "-C", str(root), *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON file, {} where there is none yet."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ResultsError(f"{path}: damaged ({error}); `dvc repro` writes it again") from None
    return content


def _machine_metrics(facts: Mapping[str, Any]) -> dict[str, float]:
    metrics = {"duration_seconds": float(facts["finished"] - facts["started"])}
    if "peak_memory_bytes" in facts:
        metrics["peak_memory_mib"] = round(facts["peak_memory_bytes"] / 2**20, 1)
    return metrics


def _flat(tree: Mapping[str, Any], separator: str, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, separator, f"{prefix}{key}{separator}")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _key(name: str) -> str:
    """A name that MLflow takes for a metric."""
    return re.sub(r"[^A-Za-z0-9_\-. /:]", "_", name)


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def milliseconds(seconds: float) -> int:
    """A time as MLflow has it."""
    return round(seconds * 1000)
