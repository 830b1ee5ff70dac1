"""params.yaml: everything wrong is refused with its key and a remedy, before data loads."""

import re
from io import StringIO
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from sklearn.model_selection import StratifiedKFold

from foldwise.core import config
from foldwise.core.errors import ConfigError

PARAMS = (Path(__file__).parents[2] / "params.yaml").read_text()


def changed(path: str, value: Any) -> str:
    """params.yaml with one value set (or removed, where `value` is `...`)."""
    yaml = YAML()
    tree = yaml.load(PARAMS)
    *parents, last = path.split(".")
    node = tree
    for part in parents:
        node = node[part]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    out = StringIO()
    yaml.dump(tree, out)
    return out.getvalue()


def test_the_projects_own_params_are_valid() -> None:
    settings = config.parse(PARAMS)
    assert [v.name for v in settings.variants_of("sonar")] == [
        "sonar-baseline",
        "sonar-input-dropout",
        "sonar-hidden-dropout",
    ]


TRAINING = "studies.sonar.training"
HIDDEN = "variants.sonar-hidden-dropout"
REFUSED: list[tuple[str, Any, str]] = [
    (
        f"{TRAINING}.epoch",
        5,
        r"studies\.sonar\.training\.epoch: unknown key; did you mean 'epochs'",
    ),
    (f"{HIDDEN}.droput", 0.1, r"variants\.sonar-hidden-dropout\.droput: unknown key"),
    (f"{TRAINING}.optimizer.momentun", 0.8, "momentun: unknown key; did you mean 'momentum'"),
    (f"{TRAINING}.epochs", ..., r"training\.epochs: missing; add it"),
    (f"{HIDDEN}.study", "sonr", "study: 'sonr' is not declared; did you mean 'sonar'"),
    ("studies.sonar.dataset", "sonor", "dataset: 'sonor' is not declared; did you mean 'sonar'"),
    (f"{HIDDEN}.hidden_dropout", 1.5, r"hidden_dropout: must be less than 1 \(got 1.5\)"),
    (f"{HIDDEN}.hidden_dropout", float("nan"), r"hidden_dropout: must be a finite number"),
    (f"{HIDDEN}.hidden_dropout", -0.1, "hidden_dropout: must be greater than or equal to 0"),
    (f"{TRAINING}.optimizer.lr", float("nan"), r"optimizer\.lr: must be a finite number \(got nan"),
    (f"{TRAINING}.optimizer.lr", float("inf"), r"optimizer\.lr: must be a finite number \(got inf"),
    (f"{TRAINING}.optimizer.lr", 0, r"optimizer\.lr: must be greater than 0"),
    (f"{TRAINING}.optimizer.lr", -1, r"optimizer\.lr: must be greater than 0"),
    (f"{TRAINING}.optimizer.lr", "0.1", r"optimizer\.lr: must be a valid number \(got '0.1'\)"),
    (f"{TRAINING}.optimizer.name", "sdg", "'sdg' is not one of 'sgd', 'adam'"),
    (f"{TRAINING}.init", "normal", "'normal' is neither `default` nor `uniform: a`"),
    (f"{TRAINING}.batch_size", 0, "batch_size: must be greater than or equal to 1"),
    (f"{TRAINING}.batch_size", 16.0, "batch_size: must be a valid integer"),
    ("studies.sonar.cv.folds", 1, r"cv\.folds: must be greater than or equal to 2 \(got 1\)"),
    ("studies.sonar.cv.folds", 200, "use at most 104"),
    ("studies.sonar.comparison.metric", "auc", r"comparison\.metric: must be 'accuracy', 'bal"),
    ("studies.sonar.comparison.rope", 1, r"comparison\.rope: must be less than 1"),
    ("studies.sonar.name", "echoes", "a study's name is its key; remove it"),
    ("studies.sonar.comparison.baseline", "sonar-base", "did you mean 'sonar-baseline'"),
    ("studies.sonar.comparison.pairs", [["sonar-baseline", "cifar10-plain"]], "'cifar10-plain'"),
    (
        "studies.cifar10.training.batch_size",
        3,
        r"leaves a training batch of one row.*use batch_size",
    ),
    ("studies.cifar10.training.batch_size", 1, "leaves a training batch of one row"),
    (f"{HIDDEN}.hidden", [], "act on hidden layers, and `hidden` is empty"),
    (f"{HIDDEN}.training", {"epoch": 3}, "training.epoch: unknown key; did you mean 'epochs'"),
    (
        "variants.sonar_x",
        {"study": "sonar", "hidden": [3]},
        "lower-case letters, digits and hyphens",
    ),
    ("datasets.sonar.editions.uci.files", {}, "every edition but 'synthetic' lists files"),
]


@pytest.mark.parametrize(("path", "value", "message"), REFUSED)
def test_refused_with_key_and_remedy(path: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        config.parse(changed(path, value))
    assert "params.yaml" in str(caught.value)


def test_a_study_knows_its_name() -> None:
    settings = config.parse(PARAMS)
    assert {name: study.name for name, study in settings.studies.items()} == {
        name: name for name in settings.studies
    }
    with pytest.raises(ConfigError, match="did you mean 'sonar'"):
        settings.study("sonr")
    with pytest.raises(ConfigError, match="did you mean 'sonar'"):
        settings.dataset("sonor")


def test_every_metric_can_be_the_primary_one() -> None:
    for metric in get_args(config.MetricName):
        assert config.ComparisonConfig(baseline="a", metric=metric).metric == metric
    assert config.ComparisonConfig(baseline="a").metric == "accuracy"


def test_a_batch_of_one_row_is_fine_without_batch_norm() -> None:
    settings = config.parse(changed("studies.sonar.training.batch_size", 1))
    assert settings.variant("sonar-baseline").training.batch_size == 1


def test_the_proposed_batch_size_is_accepted() -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(changed("studies.cifar10.training.batch_size", 3))
    proposed = int(re.findall(r"use batch_size (\d+)", str(caught.value))[0])
    config.parse(changed("studies.cifar10.training.batch_size", proposed))


def test_yaml_errors_name_line_and_column() -> None:
    with pytest.raises(ConfigError, match=r"params\.yaml:\d+:\d+: .*duplicate key"):
        config.parse(PARAMS.replace("epochs: 300", "epochs: 300\n      epochs: 3", 1))
    with pytest.raises(ConfigError, match=r"params\.yaml:2:1: found character '\\t'"):
        config.parse("data:\n\tmirror: x\n")


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run from the project's root"):
        config.load(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"params\.yaml: empty; `git checkout HEAD -- params\.yaml` restores it"),
        (b"data:\n  mirror: \xe4\n", r"params\.yaml:2: not UTF-8 text; save it as UTF-8"),
        (b"a: " + b"[" * 5000 + b"]" * 5000, r"params\.yaml: nested too deep"),
        (b"- a\n", "expected a mapping, not list"),
        (b"\x00", r"params\.yaml"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        config.load(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(path)


def test_an_unknown_variant_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'sonar-baseline'"):
        config.parse(PARAMS).variant("sonar-basline")


def test_a_variant_overrides_its_studys_training() -> None:
    change = {"epochs": 7, "optimizer": {"lr": 0.5}}
    settings = config.parse(changed(f"{HIDDEN}.training", change))
    training = settings.variant("sonar-hidden-dropout").training
    assert (training.epochs, training.optimizer.lr) == (7, 0.5)
    assert training.optimizer.name == "sgd"
    assert settings.variant("sonar-baseline").training.epochs == 300


def test_another_optimizer_replaces_the_whole_block() -> None:
    settings = config.parse(
        changed(f"{HIDDEN}.training", {"optimizer": {"name": "adam", "lr": 0.1}})
    )
    optimizer = settings.variant("sonar-hidden-dropout").training.optimizer
    assert optimizer.model_dump(exclude={"betas", "eps"}) == {
        "name": "adam",
        "lr": 0.1,
        "weight_decay": 0.0,
    }


@given(rows=st.integers(4, 500), folds=st.integers(2, 12))
def test_training_sizes_are_those_of_stratified_folds(rows: int, folds: int) -> None:
    if folds > rows // 2:
        return
    y = np.arange(rows) % 2
    if folds > np.bincount(y).min():
        return
    splitter = StratifiedKFold(folds, shuffle=True, random_state=0)
    found = {len(train) for train, _ in splitter.split(y, y)} | {rows}
    assert found == set(config.training_sizes(rows, folds))
