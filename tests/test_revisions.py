"""Comparisons across commits, through real git and dvc, on results that are made up."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import fabricate
import numpy as np
import pandas as pd
import pytest
import repositories
from dvc.repo import Repo
from fabricate import Plan
from repositories import commit_only, git

from foldwise import revisions
from foldwise.core import files, paths, trees
from foldwise.core.config import CrossValidation
from foldwise.core.endings import DONE, NEGATIVE, REFUSED
from foldwise.core.errors import ComparisonError, ConfigError, FoldwiseError
from foldwise.evaluation import evaluate, split_digest
from foldwise.results.evaluations import write_evaluation
from foldwise.results.runs import Numerics
from foldwise.revisions import Change, Place, RevisionComparison, RevisionPair
from foldwise.wording.revisions import as_json, markdown, text

FOLDS, REPEATS, ROWS = 5, 3, 200

PARAMS = """
datasets:
  d: {editions: {made-up: {rows: 200, files: {f: {mirror_path: f, size: 1, sha256: "%s"}}}}}
studies:
  s: &study
    dataset: d
    cv: {folds: 5, repeats: 3, seed: 0}
    training: {epochs: 2, batch_size: 2, shuffle: true, optimizer: {name: sgd, lr: 0.1}}
    comparison: {baseline: base}
  other: {<<: *study, comparison: {baseline: lonely}}
variants:
  base: {study: s, hidden: [4]}
  dropout: {study: s, hidden: [4], hidden_dropout: 0.2}
  lonely: {study: other, hidden: [4]}
""" % ("0" * 64)


PLAN = Plan(PARAMS)
NUMERICS = Numerics(path="compiled", versions={"numba": "1"})
OF_A_PAIR = set(RevisionPair.model_fields) | {"sentence"}


def put(
    root: Path,
    name: str,
    share: float = 0.8,
    seed: int = 0,
    folds: int = FOLDS,
    shift: int = 0,
    failed: Mapping[str, str] = {},
    digest: str = "",
    numerics: Numerics | None = None,
) -> None:
    """Metrics and scores of a variant that is right on about `share` of its held-out rows."""
    cv = CrossValidation(folds=folds, repeats=REPEATS)
    variant = PLAN.config.variant(name).model_copy(update={"cv": cv})
    run = fabricate.run(variant, PLAN, failed=failed)
    random = np.random.default_rng(seed)
    row, repeat = np.tile(np.arange(ROWS), REPEATS), np.repeat(np.arange(REPEATS), ROWS)
    label = row % 2
    p1 = np.where((random.random(len(row)) < share) == (label == 1), 0.8, 0.2)
    fold = (row // 2 + repeat + shift * (row > ROWS // 2)) % folds
    columns = {"row": row, "repeat": repeat, "fold": fold, "label": label, "p0": 1 - p1, "p1": p1}
    changes: dict[str, object] = {"numerics": numerics}
    if digest:
        dataset = run.manifest.dataset.model_copy(update={"digest": digest})
        changes["dataset"] = dataset
    run = replace(run, manifest=run.manifest.model_copy(update=changes))
    write_evaluation(root, evaluate(replace(run, predictions=pd.DataFrame(columns))))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Commits, each on top of the first: start, noise, broken and what cannot be compared."""
    folder = tmp_path_factory.mktemp("revisions") / "a plâce"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    Repo.init(str(folder)).close()
    (folder / paths.PARAMS).write_text(PARAMS)
    for name in PLAN.config.variants:
        put(folder, name, seed=len(name))
    commit_only(folder, "start")

    def change(tag: str, *old_new: str) -> None:
        text = (folder / paths.PARAMS).read_text()
        (folder / paths.PARAMS).write_text(text.replace(*old_new) if old_new else text)
        commit_only(folder, tag)
        git(folder, "checkout", "-q", "start")

    git(folder, "checkout", "-q", "start")
    put(folder, "dropout", seed=50)
    change("noise", "hidden_dropout: 0.2", "hidden_dropout: 0.5")
    put(folder, "dropout", seed=55, numerics=NUMERICS)
    change("recorded")
    put(folder, "dropout", seed=56, numerics=Numerics(path="compiled", versions={"numba": "2"}))
    change("newer-numba")
    put(folder, "dropout", seed=57, numerics=Numerics(path="cuda", versions={}, hardware="a GPU"))
    change("on-a-gpu")
    put(folder, "dropout", 0.5, seed=51)
    change("broken", "hidden_dropout: 0.2", "hidden_dropout: 0.9")
    put(folder, "dropout", seed=52, shift=1)
    change("other-splits")
    put(folder, "dropout", seed=53, digest="newer" + 59 * "0")
    change("other-data")
    put(folder, "dropout", seed=54, folds=4)
    change("other-cv")
    put(folder, "dropout", failed={"dropout": "loss is not finite"})
    change("failed")
    (folder / paths.scores("dropout")).unlink()
    change("missing")
    change("renamed", "  dropout:", "  droput:")
    change("nats", "{baseline: base}", "{metric: log_loss, baseline: base}")
    change("old-settings", "variants:", "unheard-of:")
    git(folder, "checkout", "-q", "main")
    return folder


def test_the_digest_of_splits_is_of_their_content() -> None:
    """Not of the order of lines, nor of anything but row, label and fold of every repeat."""
    lines = pd.DataFrame({"row": [0, 1, 2], "repeat": 0, "fold": [0, 1, 0], "label": [1, 0, 1]})
    digest = split_digest(lines)
    assert split_digest(lines.iloc[::-1].astype("int16").assign(p0=0.5)) == digest
    for column in ("repeat", "row", "fold", "label"):
        other = lines.assign(**{column: lines[column] + (lines["row"] == 0)})
        assert split_digest(other) != digest, column


def verdicts(compared: RevisionComparison) -> dict[str, str]:
    assert not compared.refused
    return {pair.variant_b: pair.verdict for pair in compared.made}


def reason(root: Path, *revs: str, name: str = "dropout") -> str:
    """Why a variant is not compared between two places."""
    compared = revisions.compare([name], revs, root=root)
    assert revisions.exit_status(compared, fail_if_worse=False) == REFUSED
    (refused,) = compared.refused
    return refused.refused


def test_two_variants_in_the_workspace(project: Path) -> None:
    compared = revisions.compare(["base", "dropout"], [], root=project)
    (pair,) = compared.made
    assert (pair.a, pair.b, pair.n, pair.folds) == ("base", "dropout", ROWS, FOLDS)
    assert pair.verdict == "Inconclusive"
    assert pair.settings == [Change(key="network.hidden_dropout", a=0.0, b=0.2)]
    scores = [pd.read_csv(project / paths.scores(n))["accuracy"] for n in ("base", "dropout")]
    assert pair.mean == pytest.approx((scores[1] - scores[0]).mean())
    assert [line.difference for line in pair.differences] == pytest.approx(scores[1] - scores[0])


def test_a_gate_passes_on_noise_and_fails_on_a_broken_model(project: Path) -> None:
    noise = revisions.compare([], ["start", "noise"], root=project)
    assert verdicts(noise) == {
        "base": "Practically the same",
        "dropout": "Inconclusive",
        "lonely": "Practically the same",
    }
    assert revisions.exit_status(noise, fail_if_worse=True) == DONE
    broken = revisions.compare([], ["start", "broken"], root=project)
    assert verdicts(broken)["dropout"] == "Hurts"
    assert revisions.exit_status(broken, fail_if_worse=True) == NEGATIVE
    assert revisions.exit_status(broken, fail_if_worse=False) == DONE
    fixed = revisions.compare([], ["broken", "start"], root=project)
    assert verdicts(fixed)["dropout"] == "Helps"
    assert revisions.exit_status(fixed, fail_if_worse=True) == DONE


def test_holm_counts_only_the_pairs_whose_scores_differ(project: Path) -> None:
    compared = revisions.compare([], ["start", "noise"], root=project)
    _, pair, _ = compared.made
    assert pair.p_holm == pair.p
    assert pair.holm_over == 1
    assert [pair.unchanged for pair in compared.made] == [True, False, True]
    assert pair.settings == [Change(key="network.hidden_dropout", a=0.2, b=0.5)]


@pytest.mark.parametrize(
    ("a", "b", "changes", "said"),
    [
        ("start", "noise", [], ""),
        (
            "recorded",
            "newer-numba",
            [Change(key="numba", a="1", b="2")],
            'numba "1" → "2"; part of the difference may come from the libraries',
        ),
        (
            "start",
            "recorded",
            [
                Change(key="path", a=None, b="compiled"),
                Change(key="numba", a=None, b="1"),
                Change(key="hardware", a=None, b=""),
            ],
            "not recorded on both sides; part of the difference may come from the machine",
        ),
        (
            "recorded",
            "on-a-gpu",
            [
                Change(key="path", a="compiled", b="cuda"),
                Change(key="numba", a="1", b=None),
                Change(key="hardware", a="", b="a GPU"),
            ],
            'path "compiled" → "cuda", numba "1" → null, hardware "" → "a GPU"; part of the '
            "difference may come from the machine",
        ),
    ],
)
def test_numerics_that_differ_are_listed(
    a: str, b: str, changes: list[Change], said: str, project: Path
) -> None:
    compared = revisions.compare(["dropout"], [a, b], root=project)
    (pair,) = compared.made
    assert pair.numerics == changes
    if said:
        assert f"numerics of dropout: {said}" in text(compared)
        assert f" Numerics: {said}." in markdown(compared).replace("`", "")
    else:
        assert "umerics" not in text(compared) + markdown(compared)


def test_a_revision_against_the_workspace_which_stays_as_it_is(project: Path) -> None:
    before = git(project, "status", "--short", "--branch", "--ignored")
    compared = revisions.compare(["dropout"], ["broken"], root=project)
    assert compared.b == Place(revision="workspace", commit=None)
    assert compared.a.commit == git(project, "rev-parse", "broken").strip()
    (pair,) = compared.made
    assert (pair.a, pair.b) == ("dropout (broken)", "dropout (workspace)")
    assert verdicts(compared) == {"dropout": "Helps"}
    assert git(project, "status", "--short", "--branch", "--ignored") == before


def test_a_at_one_revision_against_b_at_another(project: Path) -> None:
    compared = revisions.compare(["base", "dropout"], ["noise", "broken"], root=project)
    (pair,) = compared.made
    assert (pair.a, pair.b) == ("base (noise)", "dropout (broken)")
    assert pair.verdict == "Hurts"


def test_both_at_one_revision(project: Path) -> None:
    compared = revisions.compare(["base", "dropout"], ["broken", "broken"], root=project)
    assert compared.made[0].a == "base"
    assert verdicts(compared) == {"dropout": "Hurts"}


def test_a_study_alone(project: Path) -> None:
    compared = revisions.compare([], ["start", "noise"], "other", project)
    assert verdicts(compared) == {"lonely": "Practically the same"}
    with pytest.raises(ConfigError, match=r"studies of start: 'othr'.*did you mean 'other'"):
        revisions.compare([], ["start", "noise"], "othr", project)
    with pytest.raises(ConfigError, match="variants of start in study other: 'base'"):
        revisions.compare(["base"], ["start", "noise"], "other", project)


def test_a_dvc_experiment(project: Path) -> None:
    put(project, "dropout", 0.5, seed=60)
    try:
        repositories.run(project, "dvc", "exp", "save", "-q", "-n", "brave-otter")
    finally:
        git(project, "checkout", "-q", "--", ".")
    compared = revisions.compare(["dropout"], ["main", "brave-otter"], root=project)
    assert verdicts(compared) == {"dropout": "Hurts"}
    assert len(compared.b.commit or "") == 40


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("other-splits", "other split tables"),
        ("other-data", r"other data digests \(\w+ and newer0"),
        ("other-cv", r"12 scores of 4 folds × 3 repeats, and study s has 5 × 3"),
        ("failed", r"dropout \(failed\) failed: loss is not finite"),
        ("missing", r"metrics/dropout.csv is not in missing; `git checkout missing && dvc repro"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(
    project: Path, tag: str, message: str
) -> None:
    refused = reason(project, "start", tag)
    assert re.search(message, refused), refused


def test_a_gate_does_not_pass_where_a_pair_is_refused(project: Path) -> None:
    compared = revisions.compare([], ["start", "other-splits"], root=project)
    assert revisions.exit_status(compared, fail_if_worse=False) == DONE
    assert revisions.exit_status(compared, fail_if_worse=True) == REFUSED
    assert "not compared: dropout: " in text(compared)
    assert "**No established loss in 2 pairs; 1 not compared.**" in markdown(compared)


def test_other_studies_are_not_mixed(project: Path) -> None:
    compared = revisions.compare(["base", "lonely"], [], root=project)
    assert "was trained in study other, not in s" in compared.refused[0].refused


def test_variants_of_one_side_alone_are_named(project: Path) -> None:
    compared = revisions.compare([], ["start", "renamed"], root=project)
    assert (compared.only_in_a, compared.only_in_b) == (["dropout"], ["droput"])
    assert "only in renamed, so not compared: droput" in text(compared)


def test_results_that_are_not_in_the_workspace(project: Path) -> None:
    path = project / paths.metrics("dropout")
    path.rename(path.with_suffix(".away"))
    try:
        compared = revisions.compare(["dropout"], ["start"], root=project)
    finally:
        path.with_suffix(".away").rename(path)
    assert "`dvc repro evaluate@dropout` makes them" in compared.refused[0].refused


@pytest.mark.parametrize(
    ("names", "revs", "message"),
    [
        (["dropout"], ["nope"], "--rev nope: unknown Git revision 'nope'.*`git fetch`"),
        (["dropout"], [""], "--rev : empty, perhaps a variable that is not set"),
        (["dropout"], [], "compare with what"),
        ([], ["start", "start"], "both sides are the same"),
        (["dropout", "dropout"], [], "both sides are the same"),
        (["a", "b", "c"], [], "at most two"),
        ([], ["a", "b", "c"], "at most two"),
    ],
)
def test_what_is_no_question(
    project: Path, names: list[str], revs: list[str], message: str
) -> None:
    with pytest.raises(FoldwiseError, match=message) as caught:
        revisions.compare(names, revs, root=project)
    assert caught.value.status == REFUSED


def test_settings_that_cannot_be_read_are_named(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"params.yaml of old-settings: unheard-of: unknown key"):
        revisions.compare([], ["old-settings"], root=project)
    with pytest.raises(ConfigError, match=r"variants of start: 'dropot' is not.*'dropout'"):
        revisions.compare(["dropot"], ["start"], root=project)


def test_a_project_without_git_has_no_revisions(tmp_path: Path) -> None:
    Repo.init(str(tmp_path), no_scm=True).close()
    (tmp_path / paths.PARAMS).write_text(PARAMS)
    with pytest.raises(ComparisonError, match="is not a git repository"):
        revisions.compare([], ["main"], root=tmp_path)


def test_tables(project: Path) -> None:
    compared = revisions.compare([], ["start", "broken"], root=project)
    protocol, header, row = text(compared).splitlines()[2:5]
    assert protocol == (
        "s: differences in accuracy are B − A; d/made-up, 200 rows, 5 folds × 3 repeats, "
        "practically the same within ±1 pp, p by Holm over 1 pair"
    )
    assert row.startswith("dropout")
    assert header.index("verdict") == row.index("Hurts")
    page = markdown(compared)
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert "- **Hurts**: dropout (broken) against dropout (start) changes accuracy by −" in page
    assert "Settings: `network.hidden_dropout` 0.2 → 0.9." in page
    assert "- the same scores to the last digit: base, lonely" in page


def test_another_metric_with_its_unit_and_direction(project: Path) -> None:
    """Less log-loss is better: the broken model has more."""
    compared = revisions.compare(["dropout"], ["nats", "broken"], root=project)
    (pair,) = compared.made
    assert (pair.metric, pair.verdict, pair.mean > 0) == ("log_loss", "Hurts", True)
    assert "differences in log-loss (lower is better) are B − A" in text(compared)
    assert f"+{pair.mean:.4f} nats" in text(compared)
    assert f"changes log-loss (lower is better) by +{pair.mean:.4f} nats" in markdown(compared)


def test_json(project: Path) -> None:
    """The keys that programs know, floats with ten digits, and each pair's sentence."""
    compared = revisions.compare([], ["start", "broken"], root=project)
    tree = json.loads(as_json(compared))
    assert set(tree) == {"a", "b", "pairs", "only_in_a", "only_in_b"}
    assert set(tree["a"]) == {"revision", "commit"}
    pair = tree["pairs"][1]
    assert set(pair) == OF_A_PAIR
    assert pair["mean"] == trees.significant(compared.made[1].mean)
    assert pair["posterior"].keys() == {"worse", "equivalent", "better"}
    assert pair["sentence"].startswith("Hurts: dropout (broken) against dropout (start) changes ")
    assert RevisionComparison.model_validate(tree).made[1].verdict == "Hurts"
    refused = json.loads(as_json(revisions.compare(["base", "lonely"], [], root=project)))
    assert set(refused["pairs"][0]) == {"variant_a", "variant_b", "study", "refused"}


# --- results of a real stage ------------------------------------------------------------------


def test_results_that_are_old_or_were_not_pulled(tmp_path: Path) -> None:
    root = tmp_path / "project"
    repositories.start(root)
    fabricate.project(root, repositories.PLAN)
    repositories.commit(root, "low")
    params = root / paths.PARAMS
    params.write_text(params.read_text().replace("hidden_dropout: 0.2", "hidden_dropout: 0.9"))
    fabricate.project(root, Plan(params.read_text(), synthetic=True, skills={"tiny-dropout": 0}))
    repositories.commit(root, "high")
    compared = revisions.compare([], ["low"], root=root)
    assert [pair.unchanged for pair in compared.made] == [True, False]
    assert "SYNTHETIC data, rows/synthetic, 40 rows" in text(compared)

    params.write_text(params.read_text().replace("hidden_dropout: 0.9", "hidden_dropout: 0.5"))
    commit_only(root, "not-trained")
    name = "tiny-dropout"
    stale = f"older than its params.yaml (variants.{name} modified); `"
    assert f"{stale}dvc repro evaluate@{name}`" in reason(root, "low", name=name)
    refused = reason(root, "low", "not-trained", name=name)
    assert f"{stale}git checkout not-trained && dvc repro evaluate@{name}`" in refused

    git(root, "checkout", "-q", "high")
    metrics = json.loads((root / paths.metrics(name)).read_text())
    del metrics["split_digest"], metrics["data_digest"]
    files.write_json(root / paths.metrics(name), metrics)
    commit_only(root, "earlier-foldwise")
    refused = reason(root, "low", "earlier-foldwise", name=name)
    assert "does not say which splits it is of" in refused
    assert f"`git checkout earlier-foldwise && dvc repro evaluate@{name}` makes them" in refused
