"""No split is trained twice, and what is kept changes no result."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import dataset, variant

from foldwise.core import paths
from foldwise.core.config import Variant
from foldwise.core.environment import Environment
from foldwise.engine import identity, mlp, tasks
from foldwise.engine.cross_validation import cross_validate
from foldwise.engine.store import CHECKPOINT, Checkpoint, Store, pack, unpack
from foldwise.journal import Recorder
from foldwise.results.runs import Run, RunFolder, write_run
from foldwise.splits import split_table

TESTS = Path(__file__).parents[1]
DATA = dataset(rows=41, test_rows=5)


def cross_validated(
    v: Variant, store: Store | None, workers: int = 1, journal: Recorder | None = None
) -> Run:
    here = Environment(workers=workers, device="cpu")
    return cross_validate(v, DATA, split_table(DATA.y, v.cv), "digest", here, journal, store)


def files_of(run: Run, folder: Path) -> dict[str, str]:
    return write_run(folder, run).files


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "project")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The splits that are trained in this process from now on."""
    places: list[tuple[int, int]] = []
    train = mlp.Mlp.train

    def counted(self: mlp.Mlp, chunk: Any, *more: Any) -> Any:
        places.extend(split.place for split in chunk)
        return train(self, chunk, *more)

    monkeypatch.setattr(mlp.Mlp, "train", counted)
    return places


def entries(store: Store) -> list[Path]:
    """No half-written ones, nor checkpoints."""
    return sorted(path for path in store.folder.glob("??/*") if "." not in path.name)


def checkpoints(store: Store) -> list[Path]:
    return sorted(store.folder.glob(f"??/[!.]*{CHECKPOINT}"))


# --- what is not trained again ----------------------------------------------------------------


@pytest.mark.parametrize("network", [{}, {"batch_norm": True, "hidden_dropout": 0.3}])
def test_the_store_changes_no_result(
    network: dict[str, object], store: Store, trained: list[tuple[int, int]], tmp_path: Path
) -> None:
    v = variant(network=network, repeats=2)
    without = files_of(cross_validated(v, None), tmp_path / "without")
    first = cross_validated(v, store)
    assert len(trained) == 2 * 9
    again = cross_validated(v, store)
    assert len(trained) == 2 * 9
    assert len(entries(store)) == 9
    assert files_of(first, tmp_path / "first") == without
    assert files_of(again, tmp_path / "again") == without
    for name in ("run.json", "timeline.parquet"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()


def test_more_repeats_train_only_the_new_ones(
    store: Store, trained: list[tuple[int, int]], tmp_path: Path
) -> None:
    cross_validated(variant(repeats=2), store)
    trained.clear()
    more = cross_validated(variant(repeats=5), store)
    assert sorted(trained) == [(repeat, fold) for repeat in (2, 3, 4) for fold in range(4)]
    whole = cross_validated(variant(repeats=5), None)
    assert files_of(more, tmp_path / "more") == files_of(whole, tmp_path / "whole")


def test_going_back_to_older_settings_trains_nothing(
    store: Store, trained: list[tuple[int, int]]
) -> None:
    cross_validated(variant(), store)
    cross_validated(variant(training={"epochs": 3}), store)
    trained.clear()
    cross_validated(variant(), store)
    cross_validated(variant(name="another-name"), store)
    assert trained == []


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"epochs": 5}},
        {"training": {"seed": 2}},
        {"training": {"optimizer": {"name": "adam", "lr": 0.1}}},
        {"network": {"activation": "tanh"}},
    ],
)
def test_other_settings_are_other_splits(
    changes: dict[str, Any], store: Store, trained: list[tuple[int, int]]
) -> None:
    cross_validated(variant(), store)
    trained.clear()
    cross_validated(variant(**changes), store)
    assert len(trained) == 5


def test_another_probe_trains_two_splits(store: Store, trained: list[tuple[int, int]]) -> None:
    """The one that is probed now, and the one that was."""
    cross_validated(variant(), store)
    trained.clear()
    cross_validated(variant(training={"probe": [0, 2]}), store)
    assert sorted(trained) == [(0, 0), (0, 2)]


def test_keys_know_study_data_rows_code_and_numerics(monkeypatch: pytest.MonkeyPatch) -> None:
    v = variant()

    def key(v: Variant = v, data: str = "d", device: str = "cpu", rows: int = 41) -> str:
        toy = dataset(rows=rows)
        task = tasks.task(v, toy, split_table(toy.y, v.cv), "", device)
        return identity.split_keys(task.learner, task.chunks, data, device)[0, 1]

    one = key()
    assert key() == one
    assert key(v.model_copy(update={"name": "other", "dataset": "other"})) == one
    monkeypatch.setattr(identity, "_gpu", lambda: "a GPU")
    others = [
        key(v.model_copy(update={"study": "other"})),
        key(data="e"),
        key(rows=43),
        key(device="cuda"),
    ]
    monkeypatch.setattr(identity, "code_of", lambda module: "other")
    others.append(key())
    monkeypatch.undo()
    monkeypatch.setattr(identity, "version", lambda name: "0")
    others.append(key())
    assert len({one, *others}) == 7


def test_on_a_gpu_the_splits_of_a_chunk_depend_on_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(identity, "_gpu", lambda: "a GPU")
    few, more = variant(repeats=1), variant(repeats=2)
    on_cpu, on_gpu = (
        [tasks.task(v, DATA, split_table(DATA.y, v.cv), "", device) for v in (few, more)]
        for device in ("cpu", "cuda")
    )
    assert on_cpu[0].keys.items() <= on_cpu[1].keys.items()
    assert on_gpu[0].keys[0, 0] != on_gpu[1].keys[0, 0]
    whole = max(on_gpu[1].chunks, key=len)
    known: Any = {whole[0].place: None}
    assert whole not in on_cpu[1].missing(known)
    assert whole in on_gpu[1].missing(known)


# --- failures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
def test_the_split_that_diverged_does_not_depend_on_workers_or_the_store(
    workers: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several that diverge it is the first, and it is trained again when it is asked again."""
    monkeypatch.setattr(mlp, "STACK_BYTES", 2000)  # several chunks
    wild = variant(repeats=2, training={"optimizer": {"name": "sgd", "lr": 1.0e30}, "epochs": 20})
    expected = cross_validated(wild, None).manifest.reason
    for _ in range(2):
        run = cross_validated(wild, store, workers)
        assert (run.manifest.status, run.manifest.reason) == ("failed", expected)


# --- damage -----------------------------------------------------------------------------------


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [flip, lambda content: content[:-1], lambda content: b""])
def test_a_damaged_entry_is_trained_again(
    damage: Callable[[bytes], bytes],
    store: Store,
    trained: list[tuple[int, int]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = files_of(cross_validated(variant(), store), tmp_path / "before")
    trained.clear()
    path = entries(store)[2]
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    after = cross_validated(variant(), store)
    assert len(trained) == 1
    assert f"{path}: damaged; trained again" in capsys.readouterr().err
    assert files_of(after, tmp_path / "after") == before
    assert list(store.damaged()) == []


def test_fresh_passes_over_what_is_there_and_replaces_it(
    store: Store, trained: list[tuple[int, int]], tmp_path: Path
) -> None:
    cross_validated(variant(), store)
    before = {path: path.read_bytes() for path in entries(store)}
    cross_validated(variant(), Store(tmp_path / "project", fresh=True))
    assert len(trained) == 2 * 5
    assert entries(store) == list(before)
    for path, content in before.items():
        assert path.read_bytes() != content  # other times


def test_what_is_packed_is_unpacked() -> None:
    arrays = {"a": np.arange(6.0)[::2], "none": np.empty((0, 3), np.float32), "one": np.array(2.5)}
    found, facts = unpack(pack(arrays, {"b": [1, None]}))
    assert facts == {"b": [1, None]}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)


# --- size -------------------------------------------------------------------------------------


def aged(store: Store) -> list[Path]:
    """What is kept, each a day older than the next."""
    for age, path in enumerate(reversed(entries(store))):
        os.utime(path, (time.time() - 86400 * age,) * 2)
    return entries(store)


def test_what_is_not_needed_is_bounded_the_oldest_use_first(store: Store) -> None:
    cross_validated(variant(repeats=2), store)
    oldest_first = aged(store)
    assert list(store.kept()) == oldest_first
    needed = {path.name for path in oldest_first[1:4]}
    sizes = [path.stat().st_size for path in oldest_first]
    store.shrink(lambda: pytest.fail("asked though there is little"), most=sum(sizes))
    assert entries(store) == oldest_first
    store.shrink(lambda: needed, most=sum(sizes[6:]))
    assert entries(store) == [*oldest_first[1:4], *oldest_first[6:]]
    store.shrink(lambda: needed, most=0)
    assert entries(store) == oldest_first[1:4]


def test_what_is_used_is_young(store: Store) -> None:
    cross_validated(variant(), store)
    cross_validated(variant(training={"seed": 2}), store)
    aged(store)
    cross_validated(variant(), store)
    table = split_table(DATA.y, variant().cv)
    keys = tasks.task(variant(), DATA, table, "digest", "cpu").keys
    assert {path.name for path in list(store.kept())[5:]} == set(keys.values())


def test_all_can_be_removed_and_what_is_damaged_is_told(store: Store) -> None:
    assert str(store) == "0 trained splits, 0.0 MiB"
    cross_validated(variant(), store)
    assert str(store).startswith("5 trained splits, ")
    assert list(store.damaged()) == []
    path = entries(store)[1]
    path.write_bytes(flip(path.read_bytes()))
    assert list(store.damaged()) == [path]
    store.clear()
    assert entries(store) == []


# --- journals ---------------------------------------------------------------------------------


def test_what_trains_nothing_begins_no_journal(store: Store, tmp_path: Path) -> None:
    paths_of = [tmp_path / "first.jsonl", tmp_path / "again.jsonl"]
    for path in paths_of:
        with Recorder(path) as journal:
            cross_validated(variant(), store, journal=journal)
            journal.end("complete")
    assert [path.exists() for path in paths_of] == [True, False]


# --- processes --------------------------------------------------------------------------------

PROGRAM = """
import sys
from pathlib import Path
import test_trained_splits
from builders import variant
from foldwise.engine import mlp
from foldwise.engine.store import Store
from foldwise.results.runs import write_run
mlp.STACK_BYTES = 2000  # several chunks
v = variant(repeats=4, training={"epochs": int(sys.argv[2])})
store = Store(Path(sys.argv[1]), seconds=float(sys.argv[4]))
run = test_trained_splits.cross_validated(v, store, workers=2)
write_run(Path(sys.argv[3]), run)
"""


def started(*arguments: object) -> "subprocess.Popen[bytes]":
    folders = [str(TESTS), str(TESTS / "engine"), *sys.path]
    code = f"import sys; sys.path[:0] = {folders!r}\n{PROGRAM}"
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)])


def kill_once_there_are_two(
    kind: Callable[[Store], list[Path]], store: Store, folder: Path, epochs: int, period: float
) -> None:
    """Start a training, and kill it when it has left two entries or checkpoints."""
    with started(folder / "project", epochs, folder / "run", period) as process:
        deadline = time.monotonic() + 300
        while len(kind(store)) < 2 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (folder / "run").exists()


def test_a_killed_training_costs_the_chunks_in_hand_alone(
    store: Store, trained: list[tuple[int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlp, "STACK_BYTES", 2000)
    epochs = 2000
    kill_once_there_are_two(entries, store, tmp_path, epochs, 60)
    v = variant(repeats=4, training={"epochs": epochs})
    task = tasks.task(v, DATA, split_table(DATA.y, v.cv), "digest", "cpu")
    kept = {path.name for path in entries(store)}
    cross_validated(v, store)
    assert sorted(trained) == sorted(p for p, key in task.keys.items() if key not in kept)
    assert len(trained) <= 17 - 2


def test_a_killed_training_goes_on_from_its_checkpoints(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlp, "STACK_BYTES", 2000)
    epochs = 2000
    kill_once_there_are_two(checkpoints, store, tmp_path, epochs, 0.05)
    left, used = len(checkpoints(store)), list[bool]()
    load = Checkpoint.load

    def noted(self: Checkpoint) -> Any:
        state = load(self)
        used.append(state is not None)
        return state

    monkeypatch.setattr(Checkpoint, "load", noted)
    v = variant(repeats=4, training={"epochs": epochs})
    resumed = cross_validated(v, store)
    assert used.count(True) == left >= 1
    assert checkpoints(store) == []
    whole = cross_validated(v, None)
    assert files_of(resumed, tmp_path / "resumed") == files_of(whole, tmp_path / "whole")


def test_a_damaged_checkpoint_or_one_that_cannot_be_written_is_none(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "aa" / f"b{CHECKPOINT}", seconds=0)
    assert checkpoint.load() is None
    checkpoint.offer(lambda: {"a": np.arange(3)})
    found = checkpoint.load()
    assert found is not None
    assert found["a"].tolist() == [0, 1, 2]
    assert Checkpoint(checkpoint.path, seconds=0, fresh=True).load() is None
    checkpoint.path.write_bytes(flip(checkpoint.path.read_bytes()))
    assert checkpoint.load() is None
    checkpoint.remove()
    checkpoint.remove()
    (tmp_path / "file").write_text("")
    Checkpoint(tmp_path / "file" / "b", seconds=0).offer(dict)


def test_checkpoints_are_apart_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([100, 101, 159, 160, 161, 219, 220, 222, 222])
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    checkpoint, kept = Checkpoint(tmp_path / "b", seconds=60), list[int]()

    def state(number: int) -> dict[str, Any]:
        kept.append(number)
        return {}

    checkpoint.load()
    for number in range(6):
        checkpoint.offer(partial(state, number))
    assert kept == [2, 5]  # at 160, and at 222: 60 s after that was written, at 161


def test_two_processes_fill_one_store(
    store: Store, trained: list[tuple[int, int]], tmp_path: Path
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    processes = [started(tmp_path / "project", 50, folder, 0) for folder in folders]
    assert [process.wait(300) for process in processes] == [0, 0]
    digests = [json.loads((folder / "run.json").read_text())["files"] for folder in folders]
    v = variant(repeats=4, training={"epochs": 50})
    run = cross_validated(v, store)
    assert trained == []
    assert digests == [files_of(run, tmp_path / "three")] * 2


def test_a_stage_whose_splits_are_there_imports_no_torch(store: Store, tmp_path: Path) -> None:
    cross_validated(variant(), store)
    program = """
import sys
from pathlib import Path
import test_trained_splits
from builders import variant
assert "torch" not in sys.modules
from foldwise.engine.store import Store
run = test_trained_splits.cross_validated(variant(), Store(Path(sys.argv[1])), workers=2)
test_trained_splits.write_run(Path(sys.argv[2]), run)
print(*{name.partition(".")[0] for name in sys.modules})
"""
    folders = [str(TESTS), str(TESTS / "engine"), *sys.path]
    code = f"import sys; sys.path[:0] = {folders!r}\n{program}"
    command = [sys.executable, "-c", code, str(tmp_path / "project"), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not {"torch", "numba", "mlflow"} & set(done.stdout.split())
    assert RunFolder(tmp_path / "run").manifest.complete


def test_experiments_of_dvc_share_the_projects_store(tmp_path: Path) -> None:
    inner = tmp_path / ".dvc/tmp/exps/abc"
    inner.mkdir(parents=True)
    assert Store(inner).folder == Store(tmp_path).folder == tmp_path / paths.STORE
