"""One version per result; the alias `champion` goes where the comparison says, or by hand."""

import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import fabricate
import mlflow.pyfunc
import numpy as np
import pytest
from fabricate import TINY, Cache, write_comparison, write_variant
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from projects import Killed, Project, interrupt, raise_killed, run_of, runs_of, track_here

from foldwise.core import git, paths
from foldwise.core.environment import Environment
from foldwise.core.errors import ConfigError, TrackingError
from foldwise.evaluation import evaluate
from foldwise.results import comparisons
from foldwise.results.comparisons import Pair, Refused
from foldwise.results.evaluations import write_evaluation
from foldwise.results.runs import RunFolder, write_run
from foldwise.statistics import Verdict
from foldwise.tracking import champions, place, tracker
from foldwise.tracking.summary import Summary

PLAIN, DROPOUT = "tiny-plain", "tiny-dropout"
MEMBERS = (PLAIN, DROPOUT, "tiny-other")


def versions(project: Project, study: str = "tiny") -> list[ModelVersion]:
    found = project.client.search_model_versions(f"name = '{study}'")
    return sorted(found, key=lambda version: int(version.version))


def champion(project: Project, study: str = "tiny") -> ModelVersion | None:
    """The holder of the alias."""
    aliases = project.client.get_registered_model(study).aliases
    number = aliases.get(place.CHAMPION)
    return None if number is None else project.client.get_model_version(study, str(number))


def holder(project: Project) -> str | None:
    held = champion(project)
    return held.tags["variant"] if held else None


def promote(project: Project, variant: str, **options: Any) -> str:
    return champions.promote(project.config, project.root, Environment(), variant, **options)


@pytest.fixture
def both(original: Project, empty_database: Path, tmp_path: Path) -> Project:
    """Both variants of the study in a store of their own, not tracked and not compared yet."""
    root = tmp_path / "project"
    for folder in (paths.RUNS, paths.METRICS):
        shutil.copytree(original.root / folder, root / folder)
    shutil.copy(empty_database, root / place.DATABASE)
    return Project(root, original.config).only(PLAIN, DROPOUT)


# --- what is registered -----------------------------------------------------------------------


def test_every_variant_has_a_version_of_its_study(
    tracked: tuple[Project, Summary],
) -> None:
    project, summary = tracked
    assert summary.registered == 3
    assert "3 registered" in str(summary)
    models = {model.name: model for model in project.client.search_registered_models()}
    assert set(models) == {"tiny", "pictures"}
    description = models["tiny"].description
    assert "SYNTHETIC" in description
    assert "Data `rows` (edition synthetic), classes: class 0, class 1." in description
    assert "stratified 2-fold × 2" in description
    for number, name in enumerate([PLAIN, DROPOUT], start=1):
        version = versions(project)[number - 1]
        assert version.tags["variant"] == name
        assert version.tags["foldwise.outputs"] == summary.tracked[name].outputs
        assert version.run_id == run_of(project, name, "refit").info.run_id


def test_a_version_says_where_it_came_from_and_how_good_it_is(
    tracked: tuple[Project, Summary],
) -> None:
    project, _ = tracked
    parent = run_of(project, DROPOUT)
    plain, dropout = versions(project)
    wanted = {"edition": "synthetic", "synthetic": "true", "foldwise.current": "true"}
    assert wanted.items() <= dropout.tags.items()
    assert (plain.tags["verdict"], dropout.tags["verdict"]) == ("baseline", "Helps")
    assert float(dropout.tags["accuracy"]) == pytest.approx(parent.data.metrics["accuracy"], 1e-5)
    assert dropout.tags["splits"] == "4"
    assert "accuracy_sd" in dropout.tags
    assert "SYNTHETIC" in dropout.description
    assert "SD over 4 splits" in dropout.description
    assert "- Helps: tiny-dropout against tiny-plain" in dropout.description


def test_a_version_is_the_logged_model_of_its_run(loading: Project) -> None:
    run = run_of(loading, "pictures-plain", "refit")
    (output,) = run.outputs.model_outputs
    logged = loading.client.get_logged_model(output.model_id)
    assert '"name": "pictures"' in logged.tags["mlflow.modelVersions"]
    rows = np.full((2, 3, 4, 4), 9, np.float32)
    one = mlflow.pyfunc.load_model("models:/pictures@champion").predict(rows)
    other = mlflow.pyfunc.load_model(f"models:/{output.model_id}").predict(rows)
    assert one.equals(other)


def test_a_variant_that_failed_has_no_version(project: Project) -> None:
    project.fail(PLAIN, "loss is NaN in epoch 3")
    assert project.track().registered == 0
    assert project.client.search_registered_models() == []


# --- who is champion --------------------------------------------------------------------------

A, B, C, D = "base", "better", "best", "other"
MERITS = {A: 0.7, B: 0.8, C: 0.9, D: 0.6}


def says(a: str, verdict: Verdict, b: str) -> Pair:
    return Pair.model_construct(a=a, b=b, verdict=verdict)


CASES: dict[str, tuple[str | None, dict[str, float], list[Pair], str]] = {
    "nobody yet": (None, MERITS, [], A),
    "nobody yet, and one helps": (None, MERITS, [says(A, "Helps", B)], B),
    "nobody yet, and the baseline failed": (None, {B: 0.8}, [], A),
    "helps": (A, MERITS, [says(A, "Helps", B)], B),
    "hurts, the other way round": (B, MERITS, [says(B, "Hurts", A)], B),
    "the champion hurts": (B, MERITS, [says(A, "Hurts", B)], A),
    "practically the same": (A, MERITS, [says(A, "Practically the same", B)], A),
    "inconclusive": (A, MERITS, [says(A, "Inconclusive", B)], A),
    "the best of several": (A, MERITS, [says(A, "Helps", B), says(A, "Helps", C)], C),
    "the best of those that help": (
        A,
        MERITS,
        [says(A, "Helps", B), says(A, "Inconclusive", C)],
        B,
    ),
    "from step to step": (A, MERITS, [says(A, "Helps", B), says(B, "Helps", C)], C),
    "better than another, not than the champion": (B, MERITS, [says(A, "Helps", C)], B),
    "better, but without a version": (A, {A: 0.7}, [says(A, "Helps", B)], A),
    "the champion is gone from the study": ("gone", MERITS, [says(A, "Helps", B)], "gone"),
    "in a circle, if that could be": (A, MERITS, [says(A, "Helps", B), says(A, "Hurts", B)], B),
}


@pytest.mark.parametrize("case", CASES)
def test_who_takes_the_alias(case: str) -> None:
    before, merits, pairs, after = CASES[case]
    succession = champions.successor(before, A, merits, pairs)
    assert succession.variant == after
    assert not succession.pair or after in (succession.pair.a, succession.pair.b)


def test_a_pair_that_was_refused_moves_nothing(both: Project) -> None:
    comparison = both.compare()
    refused = Refused(a=PLAIN, b=DROPOUT, kind="baseline", refused="other splits")
    comparisons.write_comparison(both.root, comparison.model_copy(update={"pairs": [refused]}))
    both.track()
    assert holder(both) == PLAIN
    dropout = versions(both)[1]
    assert dropout.tags["verdict"] == "refused"
    assert "- other splits" in dropout.description


def test_the_alias_follows_the_comparison(both: Project) -> None:
    assert both.track().notes == [
        "tiny: version 1 (tiny-plain) is champion: the study's baseline, for want of a champion"
    ]
    both.compare(dropout="Inconclusive")
    assert both.track().notes == []
    assert holder(both) == PLAIN
    both.compare(dropout="Helps")
    (note,) = both.track().notes
    assert note.startswith(
        "tiny: version 2 (tiny-dropout) is champion: Helps: tiny-dropout against tiny-plain changes"
    )
    assert note.endswith("2 folds × 2 repeats)")
    plain, dropout = versions(both)
    assert dropout.tags["champion_by"] == "track"
    assert dropout.tags["champion_why"].startswith("Helps: tiny-dropout against tiny-plain")
    assert dropout.tags["champion_why"] in dropout.description  # the whole verdict
    assert plain.tags["champion_until"] >= plain.tags["champion_since"]
    both.compare(dropout="Practically the same")
    assert both.track().notes == []
    assert holder(both) == DROPOUT
    both.compare(dropout="Hurts")
    both.track()
    assert holder(both) == PLAIN
    assert "champion_until" not in versions(both)[0].tags
    assert both.track().notes == []


def test_the_alias_follows_new_results_of_its_variant(project: Project) -> None:
    first = project.track()
    project.fabricate(PLAIN, seed=1)
    second = project.track()
    old, new = versions(project)
    outputs = [summary.tracked[PLAIN].outputs for summary in (first, second)]
    assert [version.tags["foldwise.outputs"] for version in (old, new)] == outputs
    assert [version.tags["foldwise.current"] for version in (old, new)] == ["false", "true"]
    assert champion(project).version == new.version
    project.fabricate(PLAIN)
    assert project.track().registered == 0
    old, new = versions(project)
    assert [version.tags["foldwise.current"] for version in (old, new)] == ["true", "false"]
    assert champion(project).version == old.version


def test_a_variant_that_is_not_there_keeps_its_version_and_the_alias(both: Project) -> None:
    both.compare(dropout="Helps")
    both.track()
    shutil.rmtree(both.root / paths.run(DROPOUT))
    both.track()
    assert holder(both) == DROPOUT
    assert {version.tags["foldwise.current"] for version in versions(both)} == {"true"}
    removed = both.only(PLAIN)
    removed.track()
    assert holder(both) == DROPOUT
    assert [version.tags["foldwise.current"] for version in versions(both)] == ["true", "false"]


LOG_LOSS = replace(
    TINY,
    params=TINY.params.replace(
        "comparison: {baseline: tiny-plain}",
        "comparison: {metric: log_loss, rope: 0.01, baseline: tiny-plain}",
    ).replace("variants:\n", "variants:\n  tiny-other: {study: tiny, hidden: [5]}\n"),
    skills={"tiny-plain": 0.0, "tiny-dropout": 0.5, "tiny-other": 4.0},
)


def test_the_champion_follows_the_primary_metric(
    fabricated: Cache, empty_database: Path, tmp_path: Path
) -> None:
    """Of two that help, the one with the lower log-loss."""
    made = fabricated.copy(tmp_path, LOG_LOSS, only=MEMBERS, models=True)
    shutil.copy(empty_database, tmp_path / place.DATABASE)
    project = Project(tmp_path, made.config)
    verdicts: dict[str, Verdict] = {"tiny-dropout": "Helps", "tiny-other": "Helps"}
    write_comparison(tmp_path, LOG_LOSS, "tiny", verdicts)
    (note,) = project.track().notes
    assert "(tiny-other) is champion: Helps: tiny-other against tiny-plain" in note
    held = champion(project)
    assert held is not None
    parent = run_of(project, "tiny-other").data.metrics
    assert float(held.tags["log_loss"]) == pytest.approx(parent["log_loss"], rel=1e-5)
    assert float(held.tags["log_loss_sd"]) > 0
    assert f"Log-loss **{parent['log_loss']:.3f} nats**" in held.description


def test_a_training_is_not_joined_with_the_scores_of_another(both: Project) -> None:
    """`dvc repro train@…` alone, then `foldwise track`: the scores are of the training before."""
    both.compare(dropout="Helps")
    both.track()
    scored = run_of(both, DROPOUT).info.run_id
    made = fabricate.run(both.config.variant(DROPOUT), TINY, models=True, seed=9)
    write_run(both.root / paths.run(DROPOUT), made)
    notes = both.track().notes
    evaluates = "metrics/tiny-dropout.json: made from another training than runs/tiny-dropout/"
    assert notes[0].startswith(evaluates)
    assert "`dvc repro evaluate@tiny-dropout`" in notes[0]
    new = {
        run.info.run_id: run
        for run in runs_of(both)
        if run.data.tags["variant"] == DROPOUT and run.data.tags["foldwise.current"] == "true"
    }
    assert scored not in new
    for run in new.values():
        assert not {"accuracy", "log_loss", "brier"} & run.data.metrics.keys()
    assert "Helps" not in run_of(both, PLAIN).data.tags["mlflow.note.content"]
    assert versions(both)[2].tags["verdict"] == "not compared"
    write_evaluation(both.root, evaluate(RunFolder(both.root / paths.run(DROPOUT))))
    (note, *_) = both.track().notes
    assert note.startswith("comparisons/tiny.json: made from other metrics of tiny-dropout than")
    both.compare(dropout="Helps")
    assert both.track().notes == []
    assert versions(both)[2].tags["verdict"] == "Helps"
    assert "Helps" in run_of(both, PLAIN).data.tags["mlflow.note.content"]


# --- by hand ----------------------------------------------------------------------------------


def test_given_by_hand_it_stays_until_it_is_given_by_hand_again(both: Project) -> None:
    both.compare(dropout="Inconclusive")
    both.track()
    said = promote(both, DROPOUT, why="half the log-loss")
    assert said == "tiny: version 2 (tiny-dropout) is champion"
    dropout = champion(both)
    assert dropout is not None
    assert dropout.tags["champion_why"] == "half the log-loss"
    assert dropout.tags["champion_by"].endswith(", by hand")
    assert dropout.tags["champion_since"]
    both.compare(dropout="Hurts")
    (note,) = both.track().notes
    assert "version 1 (tiny-plain) does not become champion (Hurts: tiny-dropout" in note
    assert "`foldwise promote` moves it" in note
    both.fabricate(DROPOUT, seed=1)
    both.track()
    assert champion(both).version == dropout.version
    promote(both, PLAIN)
    assert holder(both) == PLAIN
    assert "champion_until" in both.client.get_model_version("tiny", dropout.version).tags


def test_an_alias_set_in_the_user_interface_was_given_by_hand(both: Project) -> None:
    both.compare(dropout="Helps")
    both.track()
    both.client.set_registered_model_alias("tiny", place.CHAMPION, "1")
    assert "was made champion by hand" in both.track().notes[0]
    assert holder(both) == PLAIN
    both.client.delete_registered_model_alias("tiny", place.CHAMPION)
    both.track()
    assert holder(both) == DROPOUT


def test_promote_names_what_there_is(both: Project) -> None:
    with pytest.raises(TrackingError, match=r"tiny-plain' \(there are: none\).*foldwise track"):
        promote(both, PLAIN)
    both.track()
    with pytest.raises(ConfigError, match="did you mean 'tiny-plain'"):
        promote(both, "tiny-pain")
    with pytest.raises(TrackingError, match=r"tiny-pain' \(there are: tiny-plain, tiny-dropout\)"):
        promote(both, "tiny-pain", study="tiny")


# --- unclean origins --------------------------------------------------------------------------


@pytest.fixture
def checkout(project: Project) -> Project:
    """A git repository with a committed setting; results are ignored."""
    (project.root / ".gitignore").write_text("/runs/\n/mlflow.db*\n/mlartifacts/\n/.dvc/\n")
    (project.root / "params.yaml").write_text("a: 1\n")
    git.run(project.root, "init", "-q")
    git.run(project.root, "add", "-A")
    git.run(project.root, "commit", "-qm", "start")
    return project


def test_a_dirty_tree_takes_no_alias_until_it_is_committed(checkout: Project) -> None:
    (checkout.root / "params.yaml").write_text("a: 2\n")
    (note,) = checkout.track().notes
    assert "uncommitted changes; commit them and `foldwise track`" in note
    assert champion(checkout) is None
    assert versions(checkout)[0].tags["dirty"] == "true"
    with pytest.raises(TrackingError, match="commit them and `foldwise track`"):
        promote(checkout, PLAIN)
    git.run(checkout.root, "commit", "-qam", "two")
    checkout.track()
    (version,) = versions(checkout)
    assert version.tags["dirty"] == "false"
    assert champion(checkout).version == version.version
    (checkout.root / "params.yaml").write_text("a: 3\n")
    checkout.track()
    assert versions(checkout)[0].tags["dirty"] == "false"
    checkout.fabricate(PLAIN, seed=1)
    assert "version 2" in checkout.track().notes[0]
    assert champion(checkout).version == version.version


def test_an_experiment_in_the_workspace_takes_no_alias(checkout: Project) -> None:
    here = Environment(experiment="bold-idea", baseline_rev="abc")
    summary = tracker.track(checkout.config, checkout.root, here)
    assert "`dvc exp apply bold-idea`" in summary.notes[0]
    assert champion(checkout) is None
    assert versions(checkout)[0].tags["experiment"] == "bold-idea"
    with pytest.raises(TrackingError, match="of the DVC experiment bold-idea"):
        promote(checkout, PLAIN)
    checkout.track()
    (version,) = versions(checkout)
    assert champion(checkout).version == version.version
    assert not {"experiment", "baseline_rev"} & set(version.tags)


def hide_git(project: Project, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("PATH", str(project.root / "nowhere"))


def damage_index(project: Project, patch: pytest.MonkeyPatch) -> None:
    """`git rev-parse` still works, `git status` does not."""
    (project.root / ".git/index").write_bytes(b"junk")


@pytest.mark.parametrize("fault", [hide_git, damage_index])
def test_where_git_cannot_say_it_nothing_is_clean(checkout: Project, fault: Any) -> None:
    index = checkout.root / ".git/index"
    content = index.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        fault(checkout, patch)
        (note,) = checkout.track().notes
        assert "git could not say whether there were uncommitted changes" in note
        assert champion(checkout) is None
        assert versions(checkout)[0].tags["dirty"] == "unknown"
        with pytest.raises(TrackingError, match="`git status` works here, then `foldwise track`"):
            promote(checkout, PLAIN)
    index.write_bytes(content)
    checkout.track()
    (version,) = versions(checkout)
    assert version.tags["dirty"] == "false"
    assert champion(checkout).version == version.version


def test_without_git_there_is_nothing_to_commit(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_git(project, monkeypatch)
    project.track()
    assert holder(project) == PLAIN
    assert "dirty" not in versions(project)[0].tags


def test_the_reason_is_the_version_s_own(checkout: Project, original: Project) -> None:
    """Not the experiment that ran last, which `dvc exp apply` would bring into the project."""
    first, last = (Environment(experiment=name) for name in ("first-idea", "last-idea"))
    checkout.track()
    both = Project(checkout.root, original.config).only(PLAIN, DROPOUT)
    tracker.track(both.config, both.root, first)
    both.compare(dropout="Helps")
    (note,) = tracker.track(both.config, both.root, last).notes
    assert "it is of the DVC experiment first-idea; `dvc exp apply first-idea`" in note
    assert "last-idea" not in note
    assert holder(checkout) == PLAIN


def test_an_experiment_does_not_decide_about_results_that_are_not_its_own(
    checkout: Project, original: Project
) -> None:
    both = Project(checkout.root, original.config).only(PLAIN, DROPOUT)
    both.track()
    assert {version.tags["dirty"] for version in versions(both)} == {"false"}
    both.compare(dropout="Helps")
    (note,) = tracker.track(both.config, both.root, Environment(experiment="bold-idea")).notes
    assert note.endswith("`foldwise track` outside of the DVC experiment bold-idea decides")
    assert holder(both) == PLAIN
    both.track()
    assert holder(both) == DROPOUT


def test_a_queued_experiment_is_registered_and_no_more(checkout: Project) -> None:
    checkout.track()
    folder = checkout.root / ".dvc" / "tmp" / "exps" / "temp" / "tmpabc"
    write_variant(folder, checkout.config.variant(PLAIN), models=True, seed=1)
    summary = tracker.track(checkout.config, folder, Environment(experiment="bold-idea"))
    assert (summary.registered, summary.notes) == (1, [])
    main, experiment = versions(checkout)
    assert (main.tags["foldwise.current"], experiment.tags["foldwise.current"]) == ("true", "false")
    assert champion(checkout).version == main.version
    assert checkout.track().registered == 0


# --- interruptions ----------------------------------------------------------------------------

WRITES = (
    "create_registered_model",
    "create_model_version",
    "set_logged_model_tags",
    "set_model_version_tag",
    "set_registered_model_alias",
)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def state(project: Project) -> list[tuple[Any, ...]]:
    """All that matters, without times."""
    held = champion(project)
    return [
        (
            {k: v for k, v in version.tags.items() if k not in (champions.SINCE, champions.UNTIL)},
            version.description,
            held is not None and held.version == version.version,
        )
        for version in versions(project)
    ]


def test_an_interrupted_track_is_completed_without_doubles(
    both: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both.compare(dropout="Helps")
    with monkeypatch.context() as patch:  # mirrored, but not registered
        patch.setattr(champions.Registered, "sync", lambda _: None)
        both.track()
    copies = {calls: Project(tmp_path / str(calls), both.config) for calls in (1, 2, 3, 7, 9)}
    for copy in copies.values():
        shutil.copytree(both.root, copy.root)
    both.track()
    expected = state(both)
    assert len(expected) == 2
    for calls, copy in copies.items():
        with monkeypatch.context() as patch:
            interrupt(patch, WRITES, calls, raise_killed)
            with pytest.raises(Killed):
                copy.track()
        copy.track()
        assert state(copy) == expected, calls


def track_and_die(project: Project) -> None:
    interrupt(pytest.MonkeyPatch(), WRITES, 3, kill)
    track_here(project)


def test_a_killed_process(project: Project, processes: Any) -> None:
    process = processes.Process(target=track_and_die, args=(project,))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    assert champion(project) is None
    assert len(versions(project)) == 1
    project.track()
    assert len(versions(project)) == 1
    assert holder(project) == PLAIN


def test_a_version_that_was_asked_for_twice_is_there_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = MlflowClient.create_model_version

    def twice(*arguments: Any, **options: Any) -> Any:
        create(*arguments, **options)
        return create(*arguments, **options)

    monkeypatch.setattr(MlflowClient, "create_model_version", twice)
    project.track()
    assert [int(version.version) for version in versions(project)] == [1]
    assert holder(project) == PLAIN


def test_a_version_whose_run_was_deleted_is_replaced(project: Project) -> None:
    project.track()
    promote(project, PLAIN, why="because")
    project.client.set_registered_model_alias("tiny", "mine", "1")
    for run in runs_of(project):
        project.client.delete_run(run.info.run_id)
    shutil.rmtree(project.root / place.ARTIFACTS)
    project.track()
    (version,) = versions(project)
    assert version.run_id == run_of(project, PLAIN, "refit").info.run_id
    aliases: Mapping[str, Any] = project.client.get_registered_model("tiny").aliases
    assert {name: int(v) for name, v in aliases.items()} == {"champion": 2, "mine": 2}
    assert version.tags["champion_why"] == "because"
    assert Path(version.source.removeprefix("file://")).is_dir()
