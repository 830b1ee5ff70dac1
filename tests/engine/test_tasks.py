"""Several variants train together; what run folders have is taken from them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fabricate
import numpy as np
import pytest
from builders import dataset, variant

from foldwise.core import files, paths
from foldwise.core.config import Variant
from foldwise.core.environment import Environment
from foldwise.core.errors import DataError, MissingError
from foldwise.datasets import prepared
from foldwise.engine import mlp, tables, tasks
from foldwise.engine.cross_validation import run_of
from foldwise.engine.store import Store
from foldwise.engine.tasks import Task
from foldwise.numerics.outcomes import Recorded
from foldwise.results.runs import RunFolder, write_run
from foldwise.splits import split_table, splits_of

HERE = Environment(workers=1, device="cpu")
TOY = dataset(rows=41, test_rows=5)
PLAIN = variant(repeats=2)
DEEP = variant(name="deep", repeats=2, network={"hidden": [9, 7, 5], "batch_norm": True})
WILD = variant(
    name="wild", repeats=2, training={"optimizer": {"name": "sgd", "lr": 1.0e30}, "epochs": 20}
)


def write_inputs(root: Path, v: Variant, data: prepared.Dataset = TOY) -> None:
    prepared.save(data, root / paths.prepared(v.dataset))
    facts = {"data_digest": data.digest}
    files.write_table(root / paths.splits(v.study), split_table(data.y, v.cv), facts)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Data and splits of PLAIN, DEEP and WILD."""
    write_inputs(tmp_path, PLAIN)
    return tmp_path


@pytest.fixture
def loaded(root: Path) -> Callable[..., list[Task]]:
    return lambda *variants: tasks.load(variants, "cpu", root)


def write(task: Task, root: Path, store: Store | None = None) -> dict[str, str]:
    run = run_of(task, HERE, store=store)
    return write_run(root / paths.run(task.learner.variant.name), run).files


# --- loading ----------------------------------------------------------------------------------


def test_data_are_read_once(loaded: Callable[..., list[Task]]) -> None:
    plain, deep = loaded(PLAIN, DEEP)
    assert plain.dataset is deep.dataset
    assert plain.split_digest == deep.split_digest


def test_what_is_not_there_is_named_with_the_stage_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="`dvc repro prepare@toy` makes it"):
        tasks.load([PLAIN], "cpu", tmp_path)
    prepared.save(TOY, tmp_path / paths.prepared("toy"))
    with pytest.raises(MissingError, match="`dvc repro split@toy-study` makes it"):
        tasks.load([PLAIN], "cpu", tmp_path)


def test_splits_of_other_data_or_settings_are_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"other cross-validation settings; run `dvc repro split@"):
        tasks.load([variant(repeats=3)], "cpu", root)
    prepared.save(replace(TOY, edition="other"), root / paths.prepared("toy"))
    with pytest.raises(DataError, match=r"made from other data; run `dvc repro split@toy-study`"):
        tasks.load([PLAIN], "cpu", root)


# --- together ---------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
def test_variants_trained_together_are_those_trained_alone(
    workers: int, loaded: Callable[..., list[Task]], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlp, "STACK_BYTES", 4000)  # several chunks
    store = Store(root)
    together = loaded(PLAIN, WILD, DEEP)
    outcomes = tasks.train(together, Environment(workers=workers, device="cpu"), store)
    assert [outcome.failure is not None for outcome in outcomes] == [False, True, False]
    assert [outcomes[i].trained for i in (0, 2)] == [9, 9]
    for task in (together[0], together[2]):
        assert write(task, root / "together", store) == write(task, root / "alone")
    again = tasks.train([together[0], together[2]], HERE, store)
    assert [outcome.trained for outcome in again] == [0, 0]


def test_the_longest_chunks_start_first(
    loaded: Callable[..., list[Task]], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    train = mlp.Mlp.train

    def noted(self: mlp.Mlp, *arguments: object) -> object:
        begun.append(self.variant.name)
        return train(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(mlp.Mlp, "train", noted)
    tasks.train(loaded(PLAIN, DEEP), HERE)
    assert begun[0] == "deep"
    assert begun[-1] == PLAIN.name


class Journal:
    """What a recorder is told."""

    def __init__(self) -> None:
        self.begun, self.epochs = 0, list[Recorded]()

    def begin(self, *header: object) -> None:
        self.begun += 1

    def record(self, recorded: Recorded) -> None:
        self.epochs.append(recorded)


def test_each_variant_has_its_own_journal(loaded: Callable[..., list[Task]], root: Path) -> None:
    store, both = Store(root), loaded(PLAIN, DEEP)
    tasks.train(both[:1], HERE, store)
    journals = [Journal(), Journal()]
    tasks.train(both, HERE, store, journals)  # type: ignore[arg-type]
    assert [journal.begun for journal in journals] == [0, 1]
    assert journals[0].epochs == []
    assert {place for line in journals[1].epochs for place in line.splits} == set(both[1].keys)


# --- run folders ------------------------------------------------------------------------------


def test_a_run_taken_apart_and_put_together_is_the_same(
    loaded: Callable[..., list[Task]], root: Path
) -> None:
    (task,) = loaded(DEEP)
    run = run_of(task, HERE)
    outcome = tasks.train([task], HERE)[0]
    for trained in tables.taken_apart(run):
        expected = outcome.entries[trained.split.repeat, trained.split.fold].trained
        for name in ("epochs", "history", "held_out", "test"):
            np.testing.assert_array_equal(getattr(trained, name), getattr(expected, name))
            assert getattr(trained, name).dtype == getattr(expected, name).dtype
        assert trained.weights.keys() == expected.weights.keys()
        assert len(trained.diagnostics) == len(expected.diagnostics)


def test_what_a_clone_has_in_its_run_folders_is_not_trained(
    loaded: Callable[..., list[Task]], root: Path
) -> None:
    plain, deep = loaded(PLAIN, DEEP)
    before = write(plain, root)
    timeline = (root / paths.run(PLAIN.name) / "timeline.parquet").read_bytes()
    store = Store(root)
    assert tasks.adopt([plain, deep], store, root) == [plain, deep]
    outcomes = tasks.train([plain, deep], HERE, store)
    assert [outcome.trained for outcome in outcomes] == [0, 9]
    assert write(plain, root, store) == before
    assert (root / paths.run(PLAIN.name) / "timeline.parquet").read_bytes() == timeline


def test_run_folders_of_other_settings_or_damaged_ones_are_not_taken(
    loaded: Callable[..., list[Task]], root: Path
) -> None:
    (plain,) = loaded(PLAIN)
    write(plain, root)
    other = PLAIN.model_copy(
        update={"training": PLAIN.training.model_copy(update={"batch_size": 9})}
    )
    store = Store(root)
    tasks.adopt(loaded(other), store, root)
    assert not store.folder.exists()
    path = root / paths.run(PLAIN.name) / "history.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    assert tasks.adopt([plain], store, root) == [plain]
    assert not store.folder.exists()


def test_what_is_known_to_fail_is_not_tried_again(
    loaded: Callable[..., list[Task]], root: Path
) -> None:
    (wild,) = loaded(WILD)
    write(wild, root)
    assert RunFolder(root / paths.run("wild")).manifest.status == "failed"
    assert tasks.adopt([wild], Store(root), root) == []
    assert tasks.train([], HERE) == []


def test_the_store_keeps_what_is_declared(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what can be read; a variant without data needs nothing."""
    made = fabricate.TINY
    files.write_text(root / paths.PARAMS, made.params)
    declared, study = made.config.variant("tiny-plain"), made.config.study("tiny")
    data = replace(dataset(rows=40), name="rows")
    prepared.save(data, root / paths.prepared("rows"))
    table = split_table(data.y, study.cv)
    files.write_table(root / paths.splits("tiny"), table, {"data_digest": data.digest})
    store = Store(root)
    (task,) = tasks.load([declared], "cpu", root)
    tasks.train([task, *tasks.load([PLAIN], "cpu", root)], HERE, store)
    assert len(store.kept()) == 5 + 9
    tasks.shrink(store, "cpu", root)
    assert len(store.kept()) == 5 + 9
    monkeypatch.setattr(Store.shrink, "__defaults__", (0,))
    tasks.shrink(store, "cpu", root)
    assert {path.name for path in store.kept()} == set(task.keys.values())


def test_a_split_table_may_be_in_any_order(loaded: Callable[..., list[Task]]) -> None:
    (plain,) = loaded(PLAIN)
    table = split_table(TOY.y, PLAIN.cv).iloc[::-1]
    mixed = tasks.task(PLAIN, TOY, table, plain.split_digest, "cpu")
    assert mixed.keys == plain.keys
    assert len(splits_of(table)) == len(plain.splits)
