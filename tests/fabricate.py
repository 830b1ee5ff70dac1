"""Projects with results, fabricated in seconds: nothing is trained, but all of it is scored.

Runs are written by `results.runs`, evaluated by `evaluation`, compared by `comparison`, so a
fabricated project holds what the real stages would leave: params.yaml, runs/, metrics/,
comparisons/. A `Plan` says what is in it:

    from fabricate import TINY, lessons, project, run, write_comparison, write_variant

    made = project(tmp_path)                             # 3 variants in 2 studies, .5 s
    made.root, made.config                               # what reads results takes these
    project(tmp_path, only=["tiny-plain"])               # fewer variants are declared and there
    project(tmp_path, TINY, failed={"tiny-plain": "the loss is not finite in r0-f01"})
    project(tmp_path, lessons(pictures=100, epochs=3), synthetic=True)     # what reports show
    project(tmp_path, Plan("datasets: …", data={"rows": Data(test_rows=8)}))   # your own

Every field of a plan can be given as an argument, as `failed` and `synthetic` above. Part by part:

    run(variant, TINY, seed=1)                           # a results.runs.Run, other numbers
    write_variant(root, variant, TINY, seed=1)           # its run folder and its evaluation
    write_comparison(root, TINY, "tiny", verdicts={"tiny-dropout": "Hurts"})   # B → its verdict

A test that changes a project copies one that is made once a session (fixture of conftest.py):

    def test_it(fabricated: Cache, tmp_path: Path) -> None:
        made = fabricated.copy(tmp_path, TINY, models=True)  # the same arguments as `project`
        made = fabricated.shared(TINY)                       # for reading only: no copy at all

`models=True` gives weights of real networks, which load and run (it imports torch); without it
the weights are zeros of no network. Their predictions are fabricated either way.
"""

import hashlib
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foldwise import comparison, evaluation
from foldwise.core import config, files, paths
from foldwise.core.config import Config, Variant
from foldwise.datasets.prepared import Meta
from foldwise.numerics.split import REFIT
from foldwise.results.comparisons import Comparison, Pair
from foldwise.results.comparisons import write_comparison as write
from foldwise.results.evaluations import read_result, write_evaluation
from foldwise.results.runs import Facts, Manifest, Place, Run, write_run
from foldwise.statistics import Verdict

parse = cache(config.parse)
STARTED = 1_700_000_000.0  # Unix time in seconds
OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


# --- plans ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Data:
    """What the rows of a data set are like; how many there are is in params.yaml."""

    shape: tuple[int, ...] = (6,)
    class_names: tuple[str, ...] = ("class 0", "class 1")
    test_rows: int = 0


@dataclass(frozen=True)
class Plan:
    """What is to be in a project.

    Attributes:
        params: text of params.yaml.
        data: data set → what it is like; a table of two classes where nothing is said.
        skills: variant → how much it adds to the logit of the right class; 0 is guessing.
        failed: variant → why its training failed.
        synthetic: whether the edition is the built-in stand-in, not the first one declared.
        seed: of all numbers but labels and folds, which the variants of a study share.
        models: whether the weights are those of real networks.
    """

    params: str
    data: Mapping[str, Data] = field(default_factory=dict)
    skills: Mapping[str, float] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    synthetic: bool = False
    seed: int = 0
    models: bool = False

    @property
    def config(self) -> Config:
        return parse(self.params)

    def rows(self, variant: Variant) -> int:
        return self.config.dataset(variant.dataset).editions[self.edition(variant)].rows

    def edition(self, variant: Variant) -> str:
        first = next(iter(self.config.dataset(variant.dataset).editions))
        return config.SYNTHETIC if self.synthetic else first

    def like(self, variant: Variant) -> Data:
        return self.data.get(variant.dataset, Data())


TINY = Plan(
    params="""\
datasets:
  rows: {editions: {synthetic: {rows: 40}}}
  pictures: {editions: {synthetic: {rows: 40}}}
studies:
  tiny:
    dataset: rows
    cv: {folds: 2, repeats: 2, seed: 0}
    training: &training
      epochs: 5
      batch_size: 8
      shuffle: true
      optimizer: {name: sgd, lr: 0.1, momentum: 0.5}
      preprocessing: standardize
    comparison: {baseline: tiny-plain}
  pictures:
    dataset: pictures
    cv: {folds: 2}
    training: *training
    comparison: {baseline: pictures-plain}
variants:
  tiny-plain: {study: tiny, hidden: [5]}
  tiny-dropout: {study: tiny, hidden: [5, 4], batch_norm: true, hidden_dropout: 0.2}
  pictures-plain: {study: pictures, hidden: [5], activation: tanh}
""",
    data={"pictures": Data((3, 4, 4), ("class 0", "class 1", "class 2"))},
)
"""The smallest project with everything: a table in 4 splits, pictures in 2; synthetic."""

SHA = "a" * 64
LESSONS = """\
datasets:
  pictures:
    editions:
      official:
        rows: {pictures}
        files:
          pictures.bin: {{mirror_path: pictures.bin, size: 1, sha256: {sha}}}
      synthetic: {{rows: {pictures}}}
  echoes:
    editions:
      official:
        rows: 208
        files:
          echoes.csv: {{mirror_path: echoes.csv, size: 1, sha256: {sha}}}
      synthetic: {{rows: 208}}
studies:
  pictures:
    dataset: pictures
    cv: {{folds: 5, repeats: 1}}
    training: {{epochs: 5, batch_size: 10, shuffle: true, optimizer: {{name: adam, lr: 1.0e-4}}}}
    comparison: {{baseline: pictures-plain, pairs: [[pictures-sigmoid, pictures-batchnorm]]}}
  echoes:
    dataset: echoes
    cv: {{folds: 10, repeats: {repeats}}}
    training:
      epochs: {epochs}
      batch_size: 16
      shuffle: false
      same_init: true
      optimizer: {{name: sgd, lr: 0.01, momentum: 0.8}}
    comparison: {{metric: {metric}, baseline: echoes-baseline}}
variants:
  pictures-plain: {{study: pictures, hidden: [64, 32]}}
  pictures-batchnorm: {{study: pictures, hidden: [64, 32], batch_norm: true}}
  pictures-sigmoid: {{study: pictures, hidden: [64, 32], activation: sigmoid}}
  echoes-baseline: {{study: echoes, hidden: [60, 30]}}
  echoes-input-dropout: {{study: echoes, hidden: [60, 30], input_dropout: 0.2}}
  echoes-hidden-dropout: {{study: echoes, hidden: [60, 30], hidden_dropout: 0.2}}
"""


def lessons(
    pictures: int = 1000, repeats: int = 2, epochs: int = 40, metric: str = "accuracy"
) -> Plan:
    """Two studies as in the lessons that this project is about: what reports are made of.

    Ten classes of pictures with test rows in 5 splits, and echoes, whose study has the repeats,
    the epochs and the primary metric asked for, in 10 · repeats.
    """
    return Plan(
        params=LESSONS.format(
            pictures=pictures, repeats=repeats, epochs=epochs, metric=metric, sha=SHA
        ),
        data={
            "pictures": Data((3, 4, 4), OBJECTS, test_rows=pictures // 5),
            "echoes": Data((60,), ("metal", "rock")),
        },
        skills={
            "pictures-plain": 1.9,
            "pictures-batchnorm": 2.4,
            "pictures-sigmoid": 1.4,
            "echoes-baseline": 1.9,
            "echoes-input-dropout": 1.8,
            "echoes-hidden-dropout": 1.85,
        },
    )


# --- projects ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Project:
    """A folder with results, and its params.yaml."""

    root: Path
    config: Config

    def only(self, *names: str) -> "Project":
        """The same folder with fewer variants declared."""
        variants = {name: self.config.variants[name] for name in names}
        parts = {name: getattr(self.config, name) for name in Config.model_fields}
        return replace(self, config=Config(**parts | {"variants": variants}))


def project(
    root: Path, plan: Plan = TINY, only: Collection[str] | None = None, **changes: Any
) -> Project:
    """Fabricate a project; `only` these variants, or all; `changes` of the plan.

    A study of which a variant is left out gets no comparison.
    """
    plan = replace(plan, **changes)
    whole = Project(root, plan.config)
    made = whole if only is None else whole.only(*only)
    files.write_text(root / paths.PARAMS, plan.params)
    for variant in made.config.resolved.values():
        write_variant(root, variant, plan)
    for study in plan.config.studies:
        if made.config.variants_of(study) == plan.config.variants_of(study):
            write_comparison(root, plan, study)
    return made


class Cache:
    """Projects made once a session; `conftest.fabricated` is the session's."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._made: dict[str, Project] = {}

    def shared(self, plan: Plan = TINY, **options: Any) -> Project:
        """A project for reading only; options as in `project`."""
        key = repr((plan, sorted(options.items())))
        if key not in self._made:
            self._made[key] = project(self._folder / str(len(self._made)), plan, **options)
        return self._made[key]

    def copy(self, root: Path, plan: Plan = TINY, **options: Any) -> Project:
        """A project of the test's own in `root`, which may exist; options as in `project`."""
        made = self.shared(plan, **options)
        shutil.copytree(made.root, root, dirs_exist_ok=True)
        return replace(made, root=root)


def write_variant(root: Path, variant: Variant, plan: Plan = TINY, **changes: Any) -> Run:
    """Write a variant's run folder and its evaluation, in place of what is there."""
    made = run(variant, plan, **changes)
    metric = plan.config.study(variant.study).comparison.metric
    made = replace(made, manifest=write_run(root / paths.run(variant.name), made))
    write_evaluation(root, evaluation.evaluate(made, metric))
    return made


def write_comparison(
    root: Path, plan: Plan, study: str, verdicts: Mapping[str, Verdict] | None = None
) -> Comparison:
    """Compare what lies in `root`; `verdicts` replaces those of the pairs by their B."""
    members = plan.config.variants_of(study)
    results = {variant.name: read_result(root, variant.name) for variant in members}
    compared = comparison.compare_study(plan.config.study(study), results)
    pairs = [
        pair.model_copy(update={"verdict": verdicts[pair.b]})
        if verdicts and isinstance(pair, Pair) and pair.b in verdicts
        else pair
        for pair in compared.pairs
    ]
    changed = compared.model_copy(update={"pairs": pairs})
    write(root, changed)
    return changed


# --- runs -------------------------------------------------------------------------------------


def run(variant: Variant, plan: Plan = TINY, **changes: Any) -> Run:
    """What training a variant would leave, without training; `changes` of the plan."""
    plan = replace(plan, **changes)
    random = np.random.default_rng([plan.seed, *variant.name.encode()])
    reason, splits = plan.failed.get(variant.name), places(variant)
    predictions = _predictions(variant, plan, random)
    tested = predictions.head(plan.like(variant).test_rows)
    history = _history(variant, splits, random, failed=reason is not None)
    weights = _weights(variant, plan) if plan.models else _nothing(len(splits))
    edition = plan.edition(variant)
    digest = hashlib.sha256(f"{variant.dataset} {edition}".encode()).hexdigest()
    data = meta(variant.dataset, plan.like(variant), edition, plan.rows(variant), digest)
    return Run(
        manifest=manifest(variant, data, reason),
        history=history,
        predictions=predictions.head(0) if reason else predictions,
        test_predictions=_tested(tested.head(0) if reason else tested, splits),
        diagnostics=_diagnostics(variant, random),
        weights=weights,
        timeline=history[["repeat", "fold", "epoch"]].assign(
            finished=STARTED + history["epoch"] * 0.25
        ),
        facts=Facts(started=STARTED, finished=STARTED + 2, workers=2, peak_memory_bytes=3 * 2**20),
    )


def of_tables(
    variant: Variant,
    predictions: pd.DataFrame,
    history: pd.DataFrame | None = None,
    test_predictions: pd.DataFrame | None = None,
    reason: str | None = None,
    **facts: Any,
) -> Run:
    """A run with these tables and little else; `facts` of its data set, as in `meta`."""
    flat = pd.DataFrame(places(variant), columns=["repeat", "fold"]).assign(epoch=1)
    names = ["train_loss", "train_accuracy", "validation_loss", "validation_accuracy"]
    return Run(
        manifest=manifest(variant, meta(variant.dataset, **facts), reason),
        history=flat.assign(**dict.fromkeys(names, 0.5)) if history is None else history,
        predictions=predictions,
        test_predictions=predictions.head(0) if test_predictions is None else test_predictions,
        diagnostics=pd.DataFrame({"step": [], "layer": []}),
        weights=_nothing(len(places(variant))),
        timeline=pd.DataFrame({"repeat": [], "fold": [], "epoch": [], "finished": []}),
        facts=Facts(started=STARTED),
    )


def manifest(variant: Variant, data: Meta, reason: str | None = None) -> Manifest:
    """run.json of a variant, but for the digests of files; `reason` says why it failed."""
    return Manifest(
        status="failed" if reason else "complete",
        reason=reason,
        variant=variant,
        dataset=data,
        split_digest="5" * 64,
        code_digest="c" * 64,
        versions={"foldwise": "0.1.0", "python": "3.11", "torch": "2.11.0"},
        parameters=41,
        splits=places(variant),
    )


def meta(
    name: str, like: Data | None = None, edition: str = "uci", rows: int = 40, digest: str = "d"
) -> Meta:
    """What meta.json of a data set says."""
    like = like or Data()
    picture = len(like.shape) > 1
    return Meta(
        name=name,
        edition=edition,
        synthetic=edition == config.SYNTHETIC,
        class_names=like.class_names,
        scale=255.0 if picture else 1.0,
        rows=rows,
        test_rows=like.test_rows,
        shape=like.shape,
        dtype="uint8" if picture else "float32",
        digest=digest,
    )


def places(variant: Variant) -> list[Place]:
    """(repeat, fold) of every split, `refit` last."""
    cv = variant.cv
    return [*((r, f) for r in range(cv.repeats) for f in range(cv.folds)), (REFIT, REFIT)]


def _predictions(variant: Variant, plan: Plan, random: np.random.Generator) -> pd.DataFrame:
    """Stratified folds. Rows are equally hard for all variants, so that differences are paired."""
    shared, rows, classes = (
        np.random.default_rng(7),
        np.arange(plan.rows(variant)),
        len(plan.like(variant).class_names),
    )
    labels, skill = rows % classes, plan.skills.get(variant.name, 1.5)
    parts = []
    for repeat in range(variant.cv.repeats):
        group = shared.permutation(-(-len(rows) // classes))  # one row of each class
        logits = shared.normal(size=(len(rows), classes))
        logits += 0.5 * random.normal(size=logits.shape)
        logits[rows, labels] += skill * (1 - 0.4 * (labels == 1))
        odds = np.exp(1.6 * logits)  # a little over-confident
        p = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
        folds = group[rows // classes] % variant.cv.folds
        table = {"row": rows, "repeat": repeat, "fold": folds, "label": labels}
        parts.append(pd.DataFrame(table | {f"p{k}": p[:, k] for k in range(classes)}))
    return pd.concat(parts, ignore_index=True)


def _tested(rows: pd.DataFrame, splits: list[Place]) -> pd.DataFrame:
    return pd.concat([rows.assign(repeat=r, fold=f) for r, f in splits], ignore_index=True)


def _history(
    variant: Variant, splits: list[Place], random: np.random.Generator, failed: bool
) -> pd.DataFrame:
    """Curves that overfit, less so with dropout; a failed run ends half-way in NaN."""
    epochs = variant.training.epochs // 2 if failed else variant.training.epochs
    epoch = np.arange(1, epochs + 1)
    u = epoch / variant.training.epochs
    dropout = variant.network.input_dropout + variant.network.hidden_dropout
    parts = []
    for repeat, fold in splits:
        bend = 1 + 0.15 * random.normal()
        train = 0.75 * np.exp(-(3 - 4 * dropout) * u * bend) + 0.02 * random.random(len(u))
        held_out = train + (0.45 - dropout) * u**2 * bend + 0.05 * random.random(len(u))
        if fold == REFIT:
            held_out = np.full(len(u), np.nan)
        if failed:
            train[-1] = held_out[-1] = np.nan
        table = {"repeat": repeat, "fold": fold, "epoch": epoch, "train_loss": train}
        table |= {"train_accuracy": 1 - 0.6 * train, "validation_loss": held_out}
        parts.append(pd.DataFrame({**table, "validation_accuracy": 1 - 0.4 * held_out}))
    return pd.concat(parts, ignore_index=True)


def _diagnostics(variant: Variant, random: np.random.Generator) -> pd.DataFrame:
    """Without BatchNorm the inputs spread, sigmoids saturate, units die and gradients fade."""
    network, layers = variant.network, len(variant.network.hidden) + 1
    calm, sigmoid = network.batch_norm, network.activation == "sigmoid"
    table = pd.MultiIndex.from_product(
        [range(0, 60 * 8, 8), range(1, layers + 1)], names=["step", "layer"]
    ).to_frame(index=False)
    u, hidden = table["step"] / table["step"].max(), table["layer"] < layers
    spread = 1 + (0.0 if calm else 3.0) * u + 0.1 * random.random(len(table))
    share = (0.0 if calm else 0.4) * u
    return table.assign(
        p15=-spread,
        p50=0.1 * random.normal(size=len(table)),
        p85=spread,
        saturated=share.where(hidden & sigmoid),
        dead=share.where(hidden & (network.activation == "relu")),
        gradient_norm=0.5 * np.exp(-(0.0 if calm else 3.0) * u),
        update_ratio=0.01 * np.exp(-2 * u),
    )


def _nothing(models: int) -> dict[str, np.ndarray]:
    return {"0.weight": np.zeros((models, 1), dtype=np.float32)}


def _weights(variant: Variant, plan: Plan) -> dict[str, np.ndarray]:
    """Of a stack of real networks, all different, BatchNorm and rescaling included."""
    import torch

    from foldwise.numerics import networks
    from foldwise.numerics.inputs import logits_for

    data = plan.like(variant)
    outputs = logits_for(len(data.class_names))
    inputs, models = int(np.prod(data.shape)), len(places(variant))
    stack = networks.StackedNetwork(variant.network, inputs, outputs, models)
    generator = torch.Generator().manual_seed(plan.seed)
    networks.initialise(stack, variant.training.init, lambda _model, _layer: generator)
    for name, buffer in stack.named_buffers():
        values = torch.rand(buffer.shape, generator=generator)
        buffer.copy_(values + (0.5 if name == "scale" or name.endswith("var") else 0))
    return {name: tensor.detach().numpy() for name, tensor in stack.state_dict().items()}
