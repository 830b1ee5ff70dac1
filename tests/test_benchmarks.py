"""The benchmarks do the same work as what they are compared with, and their arithmetic is right.

No test here looks at a time.
"""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import (
    __main__,
    contenders,
    floor,
    machine,
    notebook_loops,
    parallel,
    peers,
    pipeline,
    report,
    stages,
    summary,
    targets,
    workloads,
)
from benchmarks.measuring import QUICK, Outcome, Results, Round, timed
from benchmarks.parallel import in_processes
from benchmarks.protocol import CIFAR, SONAR
from torch import nn

from foldwise.core import files
from foldwise.core.config import Variant
from foldwise.datasets.prepared import Dataset
from foldwise.numerics import networks, randomness
from foldwise.numerics.networks import StackedNetwork
from foldwise.numerics.training import Chunk, train


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other take long on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made_up_sonar() -> Dataset:
    return workloads._made_up("sonar", (208, 60), 2, 0)


# --- the notebook's loops ---------------------------------------------------------------------


def sonar_model_like(variant: Variant) -> notebook_loops.SonarModel:
    """The notebook's network, with the weights from which foldwise starts."""
    stack = StackedNetwork(variant.network, 60, 1, models=1)
    place = (variant.training.seed, variant.study, 0, 0)
    networks.initialise(
        stack,
        variant.training.init,
        lambda model, layer: randomness.generator(*place, f"init/{layer}"),
    )
    model = notebook_loops.SonarModel()
    ours = [m for m in stack.unstack(0) if isinstance(m, nn.Linear)]
    theirs = [m for m in model.modules() if isinstance(m, nn.Linear)]
    for mine, copy in zip(ours, theirs, strict=True):
        copy.load_state_dict(mine.state_dict())
    return model


def test_the_notebook_loop_and_a_stack_train_the_same_networks() -> None:
    """From the same weights, on the same folds: the same probabilities and accuracies."""
    data = made_up_sonar()
    variant = workloads.sonar_variant("sonar-baseline", epochs=6)
    X, y = torch.from_numpy(data.X), torch.from_numpy(data.y).float().reshape(-1, 1)
    accuracies = set()
    for split in workloads.plan(variant, data)[:5]:
        model, held_out = sonar_model_like(variant), X[split.held_out]
        rows = X[split.train], y[split.train], held_out, y[split.held_out]
        accuracy = notebook_loops.train_sonar(model, *rows, epochs=6)
        (ours,) = train(Chunk(variant.network, variant.training, variant.study, (split,)), data)
        with torch.no_grad():
            np.testing.assert_allclose(ours.held_out[:, 1:], model(held_out), atol=1e-5)
        assert ours.history[-1, 3] == pytest.approx(accuracy)
        accuracies.add(accuracy)
    assert len(accuracies) > 1


@pytest.mark.parametrize("name", sorted(SONAR))
def test_the_notebook_network_drops_out_where_the_variant_does(name: str) -> None:
    modules = list(notebook_loops.SonarModel(**SONAR[name]).children())
    dropouts = [m for m in modules if isinstance(m, nn.Dropout)]
    expected = {"sonar-baseline": 0, "sonar-input-dropout": 1, "sonar-hidden-dropout": 2}
    assert len(dropouts) == expected[name]
    assert all(d.p == 0.2 for d in dropouts)


@pytest.mark.parametrize("name", sorted(CIFAR))
def test_the_picture_network_has_the_parameters_of_the_variant(name: str) -> None:
    variant = workloads.cifar_variant(name)
    stack = StackedNetwork(variant.network, 3072, 10, models=1)
    both = stack, notebook_loops.PictureModel(**CIFAR[name])
    ours, theirs = (sum(p.numel() for p in model.parameters()) for model in both)
    assert ours == theirs


def test_pictures_come_as_torchvision_gives_them() -> None:
    X = np.arange(3 * 32 * 32, dtype=np.uint32).astype(np.uint8).reshape(1, 3, 32, 32)
    picture, label = notebook_loops.Pictures(X, np.array([7]))[0]
    assert torch.equal(picture, torch.from_numpy(X[0]) / 255)
    assert label == 7


def test_padding_has_every_training_row_once() -> None:
    data = made_up_sonar()
    plan = workloads.plan(workloads.sonar_variant("sonar-baseline", 1), data)
    rows, weight = peers.padded_rows(plan, 16)
    assert rows.shape == weight.shape == (10, 12, 16)
    for i, split in enumerate(plan):
        assert np.array_equal(rows[i][weight[i] == 1], split.train)


def test_vmap_learns_what_the_notebook_loop_learns() -> None:
    """From the same seed: stacked parameters, hand-written SGD, padding and all."""
    data = made_up_sonar()
    plan = workloads.plan(workloads.sonar_variant("sonar-baseline", 1), data)
    expected = notebook_loops.sonar_folds("sonar-baseline", data, 3, epochs=4)
    found = peers._vmap_train("sonar-baseline", data, plan[:3], epochs=4)
    assert found == pytest.approx(expected)


# --- arithmetic -------------------------------------------------------------------------------


def test_floor_of_a_small_network_by_hand() -> None:
    """3 → 2 → 1, batches of 5, Adam: 8 weights, 11 parameters."""
    step = floor.phases((3, 2, 1), rows=5, optimizer="adam", row_bytes=12)
    assert floor.parameters((3, 2, 1)) == 11
    assert step["forward"] == floor.Phase(flops=2 * 5 * 8, bytes=4 * 8 + 5 * 12)
    assert step["backward"] == floor.Phase(flops=2 * 5 * (8 + 2), bytes=4 * 2)
    assert step["optimizer"] == floor.Phase(flops=12 * 11, bytes=4 * 6 * 11)
    # at 100 FLOP/s and 1 byte/s every phase waits for memory; at 1 and 1000 none does
    assert floor.step_seconds(step, 100, 1) == 92 + 8 + 264
    assert floor.step_seconds(step, 1, 1000) == 80 + 100 + 132


def results(**medians: list[dict[str, float]]) -> Results:
    """Results whose contenders have these milliseconds per unit, round by round."""
    runs = {
        name.replace("_", "-"): [
            {
                "samples": [
                    {"workload": f"{v}/10", "seconds": 2 * ms / 1000, "count": 2, "started": 0}
                    for v, ms in times.items()
                ],
                "facts": {},
                "peak_bytes": 2**30,
                "startup_seconds": 1.5,
                "compile_seconds": 0.0,
            }
            for times in rounds
        ]
        for name, rounds in medians.items()
    }
    facts = {"cpu": "a CPU", "cores": 2, "memory_gib": 8.0, "system": "Linux", "python": "3.11"}
    settings = {"rounds": 2, "quick": False, "date": "2026-01-01"}
    found = {"machine": facts | {"versions": {"torch": "2"}}, "settings": settings, "runs": runs}
    return Results.model_validate(found)


def test_ratios_pair_the_rounds_and_average_common_variants() -> None:
    found = results(
        slow=[{"a": 30, "b": 90}, {"a": 40, "b": 200}],
        fast=[{"a": 10, "b": 20, "c": 1}, {"a": 20, "b": 20}],
    )
    assert summary.ratios(found.runs, "slow", "fast") == [60 / 15, 120 / 20]
    assert summary.fastest(found.runs, ["slow", "fast", "absent"]) == "fast"
    assert summary.ratios(found.runs, "slow", "absent") == []


def test_spread_and_its_text() -> None:
    found = summary.spread([3.0, 1.0, 8.0])
    assert found == summary.Spread(3.0, 1.0, 8.0)
    assert summary.Spread(1234.56, 1.0, 2.0).show(1, "×") == "1,234.6× (1.0–2.0)"
    assert summary.Spread(2.0, 2.0, 2.0).show(0, " s") == "2 s"
    assert summary.spread([]) is None
    assert summary.ratio_of_medians([4, 6, 50], [2, 2, 10]) == summary.Spread(3.0, 2.0, 5.0)


@pytest.mark.parametrize(
    ("value", "at_least", "word"),
    [(20, True, "reached"), (14, True, "missed"), (14, False, "reached"), (20, False, "missed")],
)
def test_a_target_says_whether_it_was_reached(value: float, at_least: bool, word: str) -> None:
    target = targets.Target("speed", summary.Spread(value, value, value), 15, at_least)
    sign = "≥" if at_least else "≤"
    assert target.row == ["speed", f"{value:.1f}×", f"{sign} 15×", word]


def test_a_target_that_was_not_measured_says_so() -> None:
    assert targets.Target("speed", None, 15, True).row == ["speed", "–", "≥ 15×", "not measured"]


def test_targets_of_an_engine_that_is_forty_times_faster() -> None:
    sonar = dict.fromkeys(SONAR, 2000.0)
    found = results(
        notebook_sonar=[sonar, sonar],
        foldwise_sonar_1=[dict.fromkeys(SONAR, 50.0)] * 2,
        foldwise_sonar_10=[{**dict.fromkeys(SONAR, 40.0), "sonar-hidden-dropout": 80.0}],
        jax_sonar_1=[dict.fromkeys(SONAR, 25.0)] * 2,
    )
    ten, hundred, dropout, *rest = targets.targets(found.runs)
    assert ten.found == summary.Spread(40.0, 40.0, 40.0)
    assert ten.reached
    assert hundred.found is not None
    assert hundred.found.median == pytest.approx(2000 / (160 / 3))
    assert not dropout.reached
    assert dropout.found == summary.Spread(2.0, 2.0, 2.0)
    jax = next(t for t in rest if "jax-sonar-1" in t.text)
    assert jax.found == summary.Spread(2.0, 2.0, 2.0)


# --- the report -------------------------------------------------------------------------------


def test_the_report_shows_times_ratios_and_what_was_skipped() -> None:
    found = results(
        notebook_sonar=[dict.fromkeys(SONAR, 2000.0)],
        foldwise_sonar_1=[dict.fromkeys(SONAR, 100.0)],
    )
    found.runs["skorch-sonar"] = [Round(skipped="skorch is not installed")]
    text = report.text(found)
    assert "skipped: skorch is not installed" in text
    line = next(line for line in text.splitlines() if line.startswith("foldwise "))
    assert line.split()[3:8] == ["10", "100", "100", "100", "20.0"]
    assert "Floor" not in text


def test_the_floor_table_has_the_distance() -> None:
    found = results(foldwise_cifar_one_core=[{"cifar10-plain": 0.5}])
    limits = {"flops": 1e11, "cache": 1e11, "state": 5e10, "memory": 1e10}
    facts = {f"{share}_{k}": v for share in ("one_core", "all_cores") for k, v in limits.items()}
    found.runs["machine"] = [Round(facts=facts)]
    line = next(
        x for x in floor.floors(found.runs) if x.text.startswith("CIFAR-10 plain, a step, one")
    )
    weights = 3072 * 64 + 64 * 32 + 32 * 10
    later = 64 * 32 + 32 * 10
    p = weights + 64 + 32 + 10
    forward = max(20 * weights / 1e11, (4 * weights + 30720) / 5e10)
    backward = max(20 * (weights + later) / 1e11, 4 * later / 5e10)
    assert line.floor == pytest.approx(1000 * (forward + backward + 24 * p / 5e10))
    assert line.found == 0.5
    assert f"{0.5 / line.floor:.1f}×" in report.text(found)


def test_the_page_is_filled_between_its_marks(tmp_path: Path) -> None:
    page, written = tmp_path / "page.md", tmp_path / "results.json"
    page.write_text("above\n<!-- bench:begin -->\nstale\n<!-- bench:end -->\nbelow\n")
    files.write_record(written, results(notebook_sonar=[dict.fromkeys(SONAR, 2000.0)]))
    __main__.write_docs(written, page, tmp_path / "absent.json")
    text = page.read_text()
    assert text.startswith("above\n<!-- bench:begin -->\na CPU, 2 cores")
    assert text.endswith("\n<!-- bench:end -->\nbelow\n")
    assert "stale" not in text


def test_all_tables_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of results that are there, also of those in git."""
    written = tmp_path / "results.json"
    files.write_record(written, results(notebook_sonar=[dict.fromkeys(SONAR, 2000.0)]))
    __main__.show(written, tmp_path / "absent.json")
    assert "whole" not in capsys.readouterr().out
    __main__.main(["--show"])
    shown = capsys.readouterr().out
    for title in ("Targets", "Sonar: ", "CIFAR-10: ", "Cost against", "Floor", "The whole pipe"):
        assert f"\n{title}" in shown


# --- running ----------------------------------------------------------------------------------


def test_contenders_have_one_name_each_and_a_function() -> None:
    names = [c.name for c in contenders.ALL]
    assert len(set(names)) == len(names)
    for contender in contenders.ALL:
        inspect.signature(contender.work()).bind(QUICK)  # its options are arguments of it


def test_patterns_choose_contenders() -> None:
    assert [c.name for c in contenders.chosen(["notebook-*"])] == [
        "notebook-sonar",
        "notebook-cifar",
    ]
    assert contenders.chosen([]) == list(contenders.ALL)
    with pytest.raises(ValueError, match="'nothing' matches none of"):
        contenders.chosen(["nothing"])


def test_a_missing_package_is_a_reason_to_skip() -> None:
    with pytest.raises(Exception, match="no_such_package is not installed"):
        peers.need("no_such_package")


def test_setting_up_is_timed_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 110.0, 111.0, 113.5])  # set-up begins, is ready; work begins, ends
    monkeypatch.setattr(parallel.time, "time", lambda: next(clock))
    together = in_processes(_setup, 1)
    assert together == parallel.Together(
        seconds=2.5, started=111.0, setup_seconds=10.0, results=[3]
    )


def test_samples() -> None:
    sample = timed("work", 4, lambda: [0.5, 1.0])
    assert sample.accuracies == [0.5, 1.0]
    assert sample.milliseconds == pytest.approx(1000 * sample.seconds / 4)
    outcome = Outcome([sample])
    text = Round(samples=outcome.samples, facts=outcome.facts).model_dump_json()
    assert Round.model_validate_json(text).samples == [sample]
    assert QUICK.rows is not None
    assert QUICK.rows % 10 == 0


def _setup(index: int) -> Callable[[], int]:
    return lambda: index + 3


def test_the_machine_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    proc = {
        "/proc/cpuinfo": "processor : 0\nmodel name\t: A CPU\n",
        "/proc/meminfo": "MemTotal: 3145728 kB\n",
    }
    monkeypatch.setattr(machine, "_read", proc.__getitem__)
    monkeypatch.setattr(machine, "cores", lambda: 3)
    found = machine.describe()
    assert (found.cpu, found.memory_gib, found.cores) == ("A CPU", 3.0, 3)
    asked = ["numpy", "no-such-package"]
    assert machine.versions(asked) == {"numpy": np.__version__, "no-such-package": None}


# --- the pipeline -----------------------------------------------------------------------------

OUTPUT = [
    (1.0, "Running stage 'prepare@a':"),
    (1.1, "> python pipeline/prepare.py a"),
    (3.0, "Running stage 'train@a-x':"),
    (9.0, "Running stage 'train@a-y':"),
]


def test_stage_times_come_from_the_output() -> None:
    until_first, found = stages.stages(OUTPUT, end=13.5)
    assert until_first == 1.0
    assert [(s.name, s.seconds) for s in found] == [
        ("prepare@a", 2.0),
        ("train@a-x", 6.0),
        ("train@a-y", 4.5),
    ]
    assert stages.by_kind(found) == {"prepare": [2.0], "train": [6.0, 4.5]}
    assert stages.stages([], end=2.0) == (2.0, [])


def test_work_of_the_notebook_loops_by_hand() -> None:
    """5 folds of 50,000 rows and all rows; batches of 10: 5 · 4,000 + 5,000 steps an epoch."""
    assert pipeline._work(workloads.cifar_variant("cifar10-plain", epochs=5), 50_000) == (
        6,
        5 * (5 * 4_000 + 5_000),
    )
    # 208 rows in 10 folds: 187 or 188 to train on, 12 batches of 16; 13 for all rows
    assert pipeline._work(workloads.sonar_variant("sonar-baseline", 300, repeats=5), 208) == (
        51,
        300 * (50 * 12 + 13),
    )


def measured(loops: Results, seconds: float = 10.0) -> pipeline.Measured:
    """One round of a pipeline of three stages."""
    done = [("prepare@sonar", 1.0), ("train@sonar-baseline", 6.0), ("track", 2.0)]
    one = pipeline.PipelineRound(
        loops=loops.runs,
        seconds=seconds,
        until_first_stage=1.0,
        stages=[stages.Stage(*stage) for stage in done],
    )
    return pipeline.Measured(
        compiling=10.0,
        rounds=[one],
        idle=[(3.0, 2.0), (3.0, 2.0)],
        work={"sonar-baseline": pipeline.Work(40, 200_000)},
    )


def test_pipeline_targets(tmp_path: Path) -> None:
    loops = results(notebook_sonar=[dict.fromkeys(SONAR, 3600.0)])  # 1 ms a step
    rounds = [one for seconds in (10.0, 12.5, 8.0) for one in measured(loops, seconds).rounds]
    found = measured(loops).model_copy(update={"rounds": rounds})
    reached = pipeline.targets(found)
    assert [t.found.median for t in reached if t.found] == [20.0, 1.0, 0.05, 1.5]
    assert reached[0].found == summary.Spread(20.0, 16.0, 25.0)  # within each round
    assert [t.reached for t in reached] == [True, True, True, False]
    assert "\ntrain " in pipeline.text(found)
    files.write_record(tmp_path / "pipeline.json", found)
    assert pipeline.read(tmp_path / "pipeline.json") == found


def test_a_pipeline_without_the_loops_has_no_ratio() -> None:
    assert pipeline.targets(measured(results()))[0].reached is None
