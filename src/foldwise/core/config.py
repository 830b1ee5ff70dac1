"""params.yaml as one frozen, typed tree, checked whole before any data loads.

The only reader of YAML. Every error names the key, the value and the remedy.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
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
    betas: Annotated[tuple[Fraction, Fraction], Field(strict=False)] = (0.9, 0.999)  # or a list
    eps: PositiveFloat = 1.0e-8
    weight_decay: NonNegativeFloat = 0.0


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
            if isinstance(block, dict) and block.get("name", name) != name:
                raise ValueError(f"studies.{name}.name: a study's name is its key; remove it")
            named[name] = {**block, "name": name} if isinstance(block, dict) else block
        return {**tree, "studies": named}

    @cached_property
    def resolved(self) -> dict[str, Variant]:
        """Every variant by name, its study's settings filled in."""
        return {name: self._resolve(name) for name in self.variants}

    def variant(self, name: str) -> Variant:
        """One variant by name; ConfigError, with the nearest name, where there is none."""
        return self.resolved[known(name, self.variants, "variants")]

    def study(self, name: str) -> Study:
        """One study by name; ConfigError, with the nearest name, where there is none."""
        return self.studies[known(name, self.studies, "studies")]

    def dataset(self, name: str) -> DatasetConfig:
        """A data set's editions; ConfigError, with the nearest name, where there is none."""
        return self.datasets[known(name, self.datasets, "datasets")]

    def variants_of(self, study: str) -> list[Variant]:
        """The variants that are declared in one study, in the order of params.yaml."""
        return [v for v in self.resolved.values() if v.study == study]

    def _resolve(self, name: str) -> Variant:
        block = self.variants[name]
        study = self.studies[block.study]
        return Variant(
            name=name,
            study=block.study,
            dataset=study.dataset,
            cv=study.cv,
            network=Network(**{key: getattr(block, key) for key in Network.model_fields}),
            training=_override(study.training, block.training, f"variants.{name}.training"),
        )


def load(path: Path = paths.PARAMS) -> Config:
    """Read and check params.yaml.

    Raises:
        ConfigError: the file is missing, is not YAML, has an unknown key or a bad value.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if not text.strip():  # DVC sets values in place
            raise ConfigError(f"{path}: empty; `git checkout HEAD -- {path.name}` restores it")
        return parse(text, str(path))
    except FileNotFoundError:
        raise ConfigError(f"{path}: not found; run from the project's root") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None


def parse(text: str, source: str = "params.yaml") -> Config:
    """The settings in a YAML text; `source` names it in messages. Raises as `load`."""
    return validated(read_yaml(text, source), source)


def read_yaml(text: str, source: str, pure: bool = True) -> dict[str, Any]:
    """The mapping in a YAML text, of params.yaml or any other file; {} where it is empty.

    Not `pure`: by a parser in C, which takes a seventh of the time and has poorer messages.

    Raises:
        ConfigError: it is not YAML, or no mapping.
    """
    try:
        tree = YAML(typ="safe", pure=pure).load(text) or {}
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise ConfigError(f"{place}: {error.problem or error}") from None
    except (YAMLError, KeyError, ValueError) as error:  # the last two: of a value, such as a date
        raise ConfigError(f"{source}: {error}") from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deep to be read; simplify it") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: expected a mapping, not {type(tree).__name__}")
    return tree


def validated(tree: dict[str, Any], source: str = "params.yaml") -> Config:
    """The settings that a tree says. Raises as `load`."""
    config = _validated(Config, tree, f"{source}: ")
    for problem in _problems(config):
        raise ConfigError(f"{source}: {problem}")
    return config


def known(name: str, names: Iterable[str], place: str) -> str:
    """`name`, if it is one of `names`; otherwise a ConfigError with the nearest of them."""
    for problem in _unknown(name, names, place):
        raise ConfigError(problem)
    return name


# --- checks across the tree -------------------------------------------------------------------


def _problems(config: Config) -> Iterator[str]:
    """What no part of the tree can see alone; what comes later relies on what came before."""
    for name, block in config.variants.items():
        yield from _unknown(block.study, config.studies, f"variants.{name}.study")
    for name, study in config.studies.items():
        yield from _unknown(study.dataset, config.datasets, f"studies.{name}.dataset")
        members = [variant for variant, block in config.variants.items() if block.study == name]
        yield from _problems_of_comparison(study, members)
        for label, edition in config.datasets[study.dataset].editions.items():
            if study.cv.folds > edition.rows // 2:
                yield (
                    f"studies.{name}.cv.folds: {study.cv.folds} folds, but edition '{label}' has "
                    f"{edition.rows} rows; use at most {edition.rows // 2}"
                )
    for variant in config.resolved.values():
        yield from _problems_of_training(variant, config.datasets[variant.dataset])


def _problems_of_comparison(study: Study, members: list[str]) -> Iterator[str]:
    if not members:
        yield f"studies.{study.name}: no variant names it; add one or remove it"
    place, comparison = f"studies.{study.name}.comparison", study.comparison
    of_this = "(variants of this study)"
    yield from _unknown(comparison.baseline, members, f"{place}.baseline {of_this}")
    for pair in comparison.pairs:
        for name in pair:
            yield from _unknown(name, members, f"{place}.pairs {of_this}")
        if pair[0] == pair[1]:
            yield f"{place}.pairs: {pair} compares a variant with itself"


def _problems_of_training(variant: Variant, dataset: DatasetConfig) -> Iterator[str]:
    cv, place = variant.cv, f"variants.{variant.name}"
    repeat, fold = variant.training.probe
    if not (0 <= repeat < cv.repeats and 0 <= fold < cv.folds):
        yield (
            f"{place}: training.probe {[repeat, fold]} is not a split; "
            f"repeats are 0 to {cv.repeats - 1}, folds 0 to {cv.folds - 1}"
        )
    batch_size = variant.training.batch_size
    for label, edition in dataset.editions.items() if variant.network.batch_norm else ():
        sizes = training_sizes(edition.rows, cv.folds)
        good = next(size for size in count(batch_size) if not _leaves_one_row(sizes, size))
        if good != batch_size:  # BatchNorm has no variance in a training batch of one row
            yield (
                f"{place}: batch_size {batch_size} leaves a training batch of one row "
                f"(edition '{label}' trains on {', '.join(map(str, sizes))} rows), and BatchNorm "
                f"needs two; use batch_size {good}"
            )


def training_sizes(rows: int, folds: int) -> list[int]:
    """The distinct numbers of training rows in k-fold over `rows`, and in `refit`."""
    return sorted({rows - rows // folds, rows - -(-rows // folds), rows})


def _leaves_one_row(sizes: Iterable[int], batch_size: int) -> bool:
    """Whether the last batch of an epoch has a single row for any of the training sizes."""
    return batch_size == 1 or any(size % batch_size == 1 for size in sizes)


# --- messages ---------------------------------------------------------------------------------


def _override(base: Training, changes: Mapping[str, Any], place: str) -> Training:
    tree = base.model_dump()
    for key, value in changes.items():
        merge = key == "optimizer" and isinstance(value, dict) and "name" not in value
        tree[key] = {**tree[key], **value} if merge else value
    return _validated(Training, tree, f"params.yaml: {place}.")


def _validated(model: type[T], tree: Any, prefix: str) -> T:
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        lines = [f"{prefix}{_explain(model, e)}" for e in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def _explain(model: type[BaseModel], error: Any) -> str:
    location = [part for part in error["loc"] if part != "[key]"]
    tags = {"sgd", "adam", "adamw", "rmsprop"}
    key = ".".join(str(part) for part in location if part not in tags)
    if error["type"] == "extra_forbidden":
        siblings = _keys_at(model, location[:-1])
        return f"{key}: unknown key; {nearest(str(location[-1]), siblings)}"
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


def _keys_at(model: type[BaseModel], location: Iterable[Any]) -> list[str]:
    """The field names of the model found by walking down `location`."""
    schema: dict[str, Any] = model.model_json_schema()
    definitions = schema.get("$defs", {})
    for part in location:
        mapping = schema.get("discriminator", {}).get("mapping", {})
        by_name: dict[str, Any] = next(iter(schema.get("patternProperties", {}).values()), {})
        schema = (
            ({"$ref": mapping[part]} if part in mapping else {})
            or schema.get("properties", {}).get(part)
            or by_name
            or schema.get("additionalProperties")
            or schema.get("items", {})
        )
        schema = schema if isinstance(schema, dict) else {}  # True where anything may stand
        schema = definitions.get(schema.get("$ref", "").rsplit("/", 1)[-1], schema)
    return list(schema.get("properties", {}))


def _unknown(name: str, names: Iterable[str], place: str) -> Iterator[str]:
    if name not in (declared := list(names)):
        yield f"{place}: '{name}' is not declared; {nearest(name, declared)}"


def nearest(name: str, names: list[str]) -> str:
    """The hint that goes with a name that is none of `names`."""
    match = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if match:
        return f"did you mean '{match[0]}'?"
    return f"there are: {', '.join(names) or 'none'}"
