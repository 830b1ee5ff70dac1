"""params.yaml as one frozen, typed tree, checked whole before any data loads.

The only reader of YAML. Every error names the key, the value and the remedy.
"""

import difflib
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from foldwise.core import paths
from foldwise.core.errors import ConfigError

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$", max_length=60)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]

SYNTHETIC = "synthetic"
T = TypeVar("T", bound=BaseModel)


class Strict(BaseModel):
    """Frozen, no unknown keys, no silent conversion ("0.1" is not a number)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


# --- data -------------------------------------------------------------------------------------


class File(Strict):
    """One file of an edition. Without `url` it can only come from a mirror."""

    url: Annotated[str, StringConstraints(pattern=r"^https://")] | None = None
    mirror_path: str
    size: Annotated[int, Field(gt=0)]
    sha256: Sha256


class Edition(Strict):
    """One way to get a data set. `rows` counts the training rows."""

    rows: Annotated[int, Field(ge=4)]
    files: dict[str, File] = {}


class DatasetConfig(Strict):
    """The editions of a data set, in the order in which they are tried."""

    editions: Annotated[dict[Name, Edition], Field(min_length=1)]

    @model_validator(mode="after")
    def _files_unless_synthetic(self) -> Self:
        for name, edition in self.editions.items():
            if (name == SYNTHETIC) == bool(edition.files):
                raise ValueError(
                    f"edition '{name}': every edition but 'synthetic' lists files, "
                    "and 'synthetic' lists none"
                )
        return self


class DataConfig(Strict):
    """Where data may come from."""

    mirror: str | None = None
    allow_synthetic: bool = True


# --- training ---------------------------------------------------------------------------------


class Sgd(Strict):
    """Stochastic gradient descent as in `torch.optim.SGD`."""

    name: Literal["sgd"]
    lr: PositiveFloat
    momentum: Fraction = 0.0
    nesterov: bool = False
    weight_decay: NonNegativeFloat = 0.0

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0: set momentum or drop nesterov")
        return self


class Adam(Strict):
    """Adam (Kingma & Ba 2015), or with decoupled weight decay (Loshchilov & Hutter 2019)."""

    name: Literal["adam", "adamw"]
    lr: PositiveFloat
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: PositiveFloat = 1.0e-8
    weight_decay: NonNegativeFloat = 0.0

    @field_validator("betas", mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class RmsProp(Strict):
    """RMSprop as in `torch.optim.RMSprop`."""

    name: Literal["rmsprop"]
    lr: PositiveFloat
    alpha: Fraction = 0.99
    eps: PositiveFloat = 1.0e-8
    momentum: Fraction = 0.0
    weight_decay: NonNegativeFloat = 0.0


Optimizer = Annotated[Sgd | Adam | RmsProp, Field(discriminator="name")]


class Init(Strict):
    """Initial weights: U(-uniform, uniform), or the library's default where `uniform` is None."""

    uniform: PositiveFloat | None = None

    @model_validator(mode="before")
    @classmethod
    def _default_by_name(cls, value: Any) -> Any:
        if value == "default":
            return {}
        if isinstance(value, str):
            raise ValueError(f"'{value}' is neither `default` nor `uniform: a`")
        return value


class Training(Strict):
    """How every network of a study is trained. `probe` is [repeat, fold] of the split whose
    inside is recorded.
    """

    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    shuffle: bool
    optimizer: Optimizer
    loss: Literal["cross_entropy", "squared_error"] = "cross_entropy"
    init: Init = Init()
    same_init: bool = False
    preprocessing: Literal["none", "standardize", "minmax"] = "none"
    seed: Seed = 0
    probe: Annotated[list[int], Field(min_length=2, max_length=2)] = [0, 0]


# --- studies and variants ---------------------------------------------------------------------


class CrossValidation(Strict):
    """Stratified k-fold, repeated with other folds; the same split table for every variant."""

    folds: Annotated[int, Field(ge=2)]
    repeats: Annotated[int, Field(ge=1)] = 1
    seed: Seed = 0


MetricName = Literal[
    "accuracy",
    "balanced_accuracy",
    "roc_auc",
    "average_precision",
    "f1_macro",
    "matthews",
    "log_loss",
    "brier",
]


class ComparisonConfig(Strict):
    """What is compared, fixed before the results are seen.

    `metric` is the primary one, which verdicts are about. `rope` is the region of practical
    equivalence, in the metric's unit: differences within ±rope count as none. `pairs` are [A, B]:
    does B do better than A?
    """

    metric: MetricName = "accuracy"
    rope: Annotated[float, Field(gt=0, lt=1)] = 0.01
    baseline: Name
    pairs: list[Annotated[list[Name], Field(min_length=2, max_length=2)]] = []


class Study(Strict):
    """A data set plus a protocol that all its variants share. Its name is its key."""

    name: Name
    dataset: Name
    cv: CrossValidation
    training: Training
    comparison: ComparisonConfig


class Network(Strict):
    """The network of a variant: Linear, [BatchNorm], activation, [Dropout] per hidden layer."""

    hidden: list[Annotated[int, Field(ge=1)]]
    activation: Literal["relu", "sigmoid", "tanh", "gelu", "silu", "elu", "leaky_relu"] = "relu"
    batch_norm: bool = False
    input_dropout: Fraction = 0.0
    hidden_dropout: Fraction = 0.0

    @model_validator(mode="after")
    def _no_setting_without_effect(self) -> Self:
        if not self.hidden and (self.batch_norm or self.hidden_dropout > 0):
            raise ValueError(
                "batch_norm and hidden_dropout act on hidden layers, and `hidden` is empty: "
                "add a layer or set batch_norm: false and hidden_dropout: 0.0"
            )
        return self


class VariantConfig(Network):
    """One network in one study, as written in params.yaml."""

    study: Name
    training: dict[str, Any] = {}


class Variant(Strict):
    """One network in one study with everything resolved: all that decides its training."""

    name: Name
    study: Name
    dataset: Name
    cv: CrossValidation
    network: Network
    training: Training


class Config(Strict):
    """The whole of params.yaml."""

    data: DataConfig = DataConfig()
    datasets: Annotated[dict[Name, DatasetConfig], Field(min_length=1)]
    studies: Annotated[dict[Name, Study], Field(min_length=1)]
    variants: Annotated[dict[Name, VariantConfig], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _name_studies(cls, tree: Any) -> Any:
        """A study knows its name, which is its key and nothing that is written beside it."""
        studies = tree.get("studies")
        if not isinstance(studies, dict):
            return tree
        named = {}
        for name, block in studies.items():
            if isinstance(block, dict) and "name" in block and block["name"] != name:
                raise ValueError(f"studies.{name}.name: a study's name is its key; remove it")
            named[name] = {**block, "name": name} if isinstance(block, dict) else block
        return {**tree, "studies": named}

    @cached_property
    def resolved(self) -> dict[str, Variant]:
        """Every variant by name, its study's settings filled in."""
        return {name: self._resolve(name) for name in self.variants}

    def variant(self, name: str) -> Variant:
        """One variant by name.

        Raises:
            ConfigError: no such variant; the message has the nearest name.
        """
        return self.resolved[known(name, self.variants, "variants")]

    def study(self, name: str) -> Study:
        """One study by name.

        Raises:
            ConfigError: no such study; the message has the nearest name.
        """
        return self.studies[known(name, self.studies, "studies")]

    def dataset(self, name: str) -> DatasetConfig:
        """One data set's editions by name.

        Raises:
            ConfigError: no such data set; the message has the nearest name.
        """
        return self.datasets[known(name, self.datasets, "datasets")]

    def variants_of(self, study: str) -> list[Variant]:
        """The variants that are declared in one study, in the order of params.yaml."""
        return [v for v in self.resolved.values() if v.study == study]

    def _resolve(self, name: str) -> Variant:
        block = self.variants[name]
        study = self.studies[
            known(block.study, self.studies, f"params.yaml: variants.{name}.study")
        ]
        network = {key: getattr(block, key) for key in Network.model_fields}
        return Variant(
            name=name,
            study=block.study,
            dataset=study.dataset,
            cv=study.cv,
            network=Network(**network),
            training=_override(study.training, block.training, f"variants.{name}.training"),
        )


def load(path: Path = paths.PARAMS) -> Config:
    """Read and check params.yaml.

    Raises:
        ConfigError: the file is missing, is not YAML, has an unknown key or a bad value.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: not found; run from the project's root") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    return parse(text, str(path))


def parse(text: str | bytes, source: str = "params.yaml") -> Config:
    """The settings in a YAML text; `source` names it in messages.

    Raises:
        ConfigError: it is not YAML, has an unknown key or a bad value.
    """
    return validated(read_yaml(text, source), source)


def read_yaml(text: str | bytes, source: str) -> dict[str, Any]:
    """The mapping in a YAML text, of params.yaml or any other file; {} where it is empty.

    Raises:
        ConfigError: it is not YAML, or no mapping.
    """
    try:
        tree = YAML(typ="safe", pure=True).load(_decoded(text, source)) or {}
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise ConfigError(f"{place}: {error.problem or error}") from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply to be read") from None
    except (YAMLError, KeyError, ValueError) as error:  # the last two: of a value, such as a date
        raise ConfigError(f"{source}: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: expected a mapping, not {type(tree).__name__}")
    return tree


def _decoded(text: str | bytes, source: str) -> str:
    try:
        return text if isinstance(text, str) else text.decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{source}:{line}: not UTF-8; save the file in that encoding") from None


def validated(tree: dict[str, Any], source: str = "params.yaml") -> Config:
    """The settings that a tree says; see `parse`."""
    config = _validated(Config, tree, source)
    _check_references(config, source)
    return config


def known(name: str, names: Iterable[str], place: str) -> str:
    """`name`, if it is one of `names`.

    Raises:
        ConfigError: it is not; the message has the nearest of the names.
    """
    names = list(names)
    if name in names:
        return name
    raise ConfigError(f"{place}: '{name}' is not declared; {_nearest(name, names)}")


# --- checks across the tree -------------------------------------------------------------------


def _check_references(config: Config, source: str) -> None:
    variants = config.resolved.values()
    for name, study in config.studies.items():
        known(study.dataset, config.datasets, f"{source}: studies.{name}.dataset")
        _check_comparison(config, name, source)
        _check_folds(config, name, source)
    for variant in variants:
        _check_probe(variant, source)
        _check_batch_norm(config, variant, source)


def _check_comparison(config: Config, study: str, source: str) -> None:
    members = [name for name, block in config.variants.items() if block.study == study]
    place = f"{source}: studies.{study}.comparison"
    comparison = config.studies[study].comparison
    if not members:
        raise ConfigError(f"{source}: studies.{study}: no variant names it; add one or remove it")
    known(comparison.baseline, members, f"{place}.baseline (variants of this study)")
    for pair in comparison.pairs:
        for name in pair:
            known(name, members, f"{place}.pairs (variants of this study)")
        if pair[0] == pair[1]:
            raise ConfigError(f"{place}.pairs: {pair} compares a variant with itself")


def _check_folds(config: Config, study: str, source: str) -> None:
    folds = config.studies[study].cv.folds
    for name, edition in config.datasets[config.studies[study].dataset].editions.items():
        if folds > edition.rows // 2:
            raise ConfigError(
                f"{source}: studies.{study}.cv.folds: {folds} folds, but edition '{name}' has "
                f"{edition.rows} rows; use at most {edition.rows // 2}"
            )


def _check_probe(variant: Variant, source: str) -> None:
    repeat, fold = variant.training.probe
    if not (0 <= repeat < variant.cv.repeats and 0 <= fold < variant.cv.folds):
        raise ConfigError(
            f"{source}: variants.{variant.name}: training.probe {[repeat, fold]} is not a split; "
            f"repeats are 0 to {variant.cv.repeats - 1}, folds 0 to {variant.cv.folds - 1}"
        )


def _check_batch_norm(config: Config, variant: Variant, source: str) -> None:
    """BatchNorm has no variance in a training batch of one row."""
    if not variant.network.batch_norm:
        return
    for name, edition in config.datasets[variant.dataset].editions.items():
        sizes = training_sizes(edition.rows, variant.cv.folds)
        if leaves_one_row(sizes, variant.training.batch_size):
            raise ConfigError(
                f"{source}: variants.{variant.name}: batch_size {variant.training.batch_size} "
                f"leaves a training batch of one row (edition '{name}' trains on "
                f"{', '.join(map(str, sizes))} rows), and BatchNorm needs two; "
                f"use batch_size {_next_batch_size(sizes, variant.training.batch_size)}"
            )


def training_sizes(rows: int, folds: int) -> list[int]:
    """The distinct numbers of training rows in k-fold over `rows`, and in `refit`."""
    return sorted({rows - rows // folds, rows - -(-rows // folds), rows})


def leaves_one_row(sizes: Iterable[int], batch_size: int) -> bool:
    """Whether the last batch of an epoch has a single row for any of the training sizes."""
    return any(size % batch_size == 1 or batch_size == 1 for size in sizes)


def _next_batch_size(sizes: list[int], batch_size: int) -> int:
    size = batch_size + 1
    while leaves_one_row(sizes, size):
        size += 1
    return size


# --- messages ---------------------------------------------------------------------------------


def _override(base: Training, changes: Mapping[str, Any], place: str) -> Training:
    tree = base.model_dump()
    for key, value in changes.items():
        merge = key == "optimizer" and isinstance(value, dict) and "name" not in value
        tree[key] = {**tree[key], **value} if merge else value
    return _validated(Training, tree, f"params.yaml: {place}", separator=".")


def _validated(model: type[T], tree: Any, source: str, separator: str = ": ") -> T:
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        lines = [f"{source}{separator}{_explain(model, e)}" for e in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def _explain(model: type[BaseModel], error: Any) -> str:
    location = [part for part in error["loc"] if part != "[key]"]
    tags = {"sgd", "adam", "adamw", "rmsprop"}
    key = ".".join(str(part) for part in location if part not in tags)
    if error["type"] == "extra_forbidden":
        siblings = _keys_at(model, location[:-1])
        return f"{key}: unknown key; {_nearest(str(location[-1]), siblings)}"
    if error["type"] == "union_tag_invalid":
        return f"{key}.name: '{error['ctx']['tag']}' is not one of {error['ctx']['expected_tags']}"
    if error["type"] == "missing":
        return f"{key}: missing; add it"
    if error["type"] == "string_pattern_mismatch" and location[-1:] == [error["input"]]:
        return f"{key}: a name is lower-case letters, digits and hyphens, and starts with a letter"
    message = error["msg"].removeprefix("Value error, ").replace("Input should", "must")
    simple = isinstance(error["input"], str | int | float) and error["type"] != "value_error"
    shown = f" (got {error['input']!r})" if simple else ""
    return f"{key}: {message}{shown}" if key else f"{message}{shown}"


def _keys_at(model: Any, location: Iterable[Any]) -> list[str]:
    """The field names of the model found by walking down `location`."""
    schema: dict[str, Any] = model.model_json_schema()
    definitions = schema.get("$defs", {})
    for part in location:
        schema = definitions.get(schema.get("$ref", "").rsplit("/", 1)[-1], schema)
        mapping = schema.get("discriminator", {}).get("mapping", {})
        if part in mapping:
            schema = {"$ref": mapping[part]}
        elif part in schema.get("properties", {}):
            schema = schema["properties"][part]
        else:
            by_name: dict[str, Any] = next(iter(schema.get("patternProperties", {}).values()), {})
            inner = by_name or schema.get("additionalProperties") or schema.get("items")
            schema = inner if isinstance(inner, dict) else {}  # True where anything may stand
    schema = definitions.get(schema.get("$ref", "").rsplit("/", 1)[-1], schema)
    return list(schema.get("properties", {}))


def _nearest(name: str, names: list[str]) -> str:
    match = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if match:
        return f"did you mean '{match[0]}'?"
    return f"there are: {', '.join(names) or 'none'}"
