"""Comparisons across commits, through real git and dvc, on results that are made up.

The last tests train for real, on the synthetic sample.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foldwise import demo, revisions
from foldwise.core import files, paths
from foldwise.core.errors import ComparisonError, ConfigError
from foldwise.evaluation import evaluate, split_digest

ROOT = Path(__file__).parent.parent
FOLDS, REPEATS, ROWS = 5, 3, 200

PARAMS = """
datasets:
  d: {editions: {made-up: {rows: 200, files: {f: {mirror_path: f, size: 1, sha256: "%s"}}}}}
studies:
  s: &study
    dataset: d
    cv: {folds: 5, repeats: 3, seed: 0}
    training: {epochs: 1, batch_size: 2, shuffle: true, optimizer: {name: sgd, lr: 0.1}}
    comparison: {baseline: base}
  other: {<<: *study, comparison: {baseline: lonely}}
variants:
  base: {study: s, hidden: [4]}
  dropout: {study: s, hidden: [4], hidden_dropout: 0.2}
  lonely: {study: other, hidden: [4]}
""" % ("0" * 64)


def git(folder: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def dvc(folder: Path, *arguments: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "dvc", *arguments]
    environ = {**os.environ, "PATH": path}
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def commit(folder: Path, tag: str) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", tag)
    git(folder, "tag", tag)


def put(
    folder: Path,
    name: str,
    share: float,
    seed: int = 0,
    study: str = "s",
    folds: int = FOLDS,
    shift: int = 0,
    status: str = "complete",
    data: str = "data",
) -> None:
    """Metrics and scores of a variant that is right on about `share` of its held-out rows."""
    random = np.random.default_rng(seed)
    row, repeat = np.tile(np.arange(ROWS), REPEATS), np.repeat(np.arange(REPEATS), ROWS)
    label = row % 2
    right = random.random(len(row)) < share
    p1 = np.where(right == (label == 1), 0.8, 0.2)
    fold = (row // 2 + repeat + shift * (row > ROWS // 2)) % folds
    table = pd.DataFrame({"row": row, "repeat": repeat, "fold": fold, "label": label})
    manifest = {
        "status": status,
        "reason": "loss is not finite" if status == "failed" else None,
        "variant": {"name": name, "study": study, "cv": {"folds": folds, "repeats": REPEATS}},
        "dataset": {
            "edition": "made-up",
            "synthetic": False,
            "class_names": ["rock", "metal"],
            "digest": f"{data:0<64}",
        },
    }
    names = ["train_loss", "train_accuracy", "validation_loss", "validation_accuracy"]
    splits = [(r, f) for r in range(REPEATS) for f in range(folds)] + [(-1, -1)]
    history = pd.DataFrame(splits, columns=["repeat", "fold"]).assign(epoch=1)
    history = history.assign(**dict.fromkeys(names, 0.5))
    table = table.assign(p0=1 - p1, p1=p1)
    found = evaluate(manifest, history, table, table.iloc[:0])
    files.write_json(folder / paths.metrics(name), found.metrics)
    files.write_text(folder / paths.scores(name), found.scores.to_csv(index=False))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Commits, each on top of the first: start, noise, broken and what cannot be compared."""
    folder = tmp_path_factory.mktemp("revisions") / "a plâce"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    dvc(folder, "init", "-q")
    (folder / paths.PARAMS).write_text(PARAMS)
    for name, study in (("base", "s"), ("dropout", "s"), ("lonely", "other")):
        put(folder, name, 0.8, seed=len(name), study=study)
    commit(folder, "start")

    def change(tag: str, *old_new: str) -> None:
        text = (folder / paths.PARAMS).read_text()
        (folder / paths.PARAMS).write_text(text.replace(*old_new) if old_new else text)
        commit(folder, tag)
        git(folder, "checkout", "-q", "start")

    git(folder, "checkout", "-q", "start")
    put(folder, "dropout", 0.8, seed=50)
    change("noise", "hidden_dropout: 0.2", "hidden_dropout: 0.5")
    put(folder, "dropout", 0.5, seed=51)
    change("broken", "hidden_dropout: 0.2", "hidden_dropout: 0.9")
    put(folder, "dropout", 0.8, seed=52, shift=1)
    change("other-splits")
    put(folder, "dropout", 0.8, seed=53, data="newer")
    change("other-data")
    put(folder, "dropout", 0.8, seed=54, folds=4)
    change("other-cv")
    put(folder, "dropout", 0.8, status="failed")
    change("failed")
    (folder / paths.scores("dropout")).unlink()
    change("missing")
    change("renamed", "  dropout:", "  droput:")
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


def verdicts(content: revisions.Content) -> dict[str, str]:
    return {x["variant_b"]: x.get("verdict", "refused") for x in content["pairs"]}


def reason(project: Path, tag: str) -> str:
    content = revisions.compare(["dropout"], ["start", tag], root=project)
    assert revisions.exit_status(content, fail_if_worse=False) == 2
    return str(content["pairs"][0]["refused"])


def test_two_variants_in_the_workspace(project: Path) -> None:
    content = revisions.compare(["base", "dropout"], [], root=project)
    (pair,) = content["pairs"]
    assert (pair["a"], pair["b"], pair["n"], pair["folds"]) == ("base", "dropout", ROWS, FOLDS)
    assert pair["verdict"] == "Inconclusive"
    assert pair["settings"] == [{"key": "network.hidden_dropout", "a": 0.0, "b": 0.2}]
    scores = [pd.read_csv(project / paths.scores(n))["accuracy"] for n in ("base", "dropout")]
    assert pair["mean"] == pytest.approx((scores[1] - scores[0]).mean())
    assert [d["difference"] for d in pair["differences"]] == pytest.approx(scores[1] - scores[0])


def test_a_gate_passes_on_noise_and_fails_on_a_broken_model(project: Path) -> None:
    noise = revisions.compare([], ["start", "noise"], root=project)
    assert verdicts(noise) == {
        "base": "Practically the same",
        "dropout": "Inconclusive",
        "lonely": "Practically the same",
    }
    assert revisions.exit_status(noise, fail_if_worse=True) == 0
    broken = revisions.compare([], ["start", "broken"], root=project)
    assert verdicts(broken)["dropout"] == "Hurts"
    assert revisions.exit_status(broken, fail_if_worse=True) == 1
    assert revisions.exit_status(broken, fail_if_worse=False) == 0
    mended = revisions.compare([], ["broken", "start"], root=project)
    assert verdicts(mended)["dropout"] == "Helps"
    assert revisions.exit_status(mended, fail_if_worse=True) == 0


def test_holm_counts_only_the_pairs_whose_scores_differ(project: Path) -> None:
    content = revisions.compare([], ["start", "noise"], root=project)
    pair = next(x for x in content["pairs"] if x["variant_b"] == "dropout")
    assert pair["p_holm"] == pair["p"]
    assert pair["holm_over"] == 1
    assert [x["unchanged"] for x in content["pairs"]] == [True, False, True]
    assert pair["settings"] == [{"key": "network.hidden_dropout", "a": 0.2, "b": 0.5}]


def test_a_revision_against_the_workspace_which_stays_as_it_is(project: Path) -> None:
    before = git(project, "status", "--short", "--branch", "--ignored")
    content = revisions.compare(["dropout"], ["broken"], root=project)
    assert content["b"] == {"revision": "workspace", "commit": None}
    assert content["a"]["commit"] == git(project, "rev-parse", "broken").strip()
    assert content["pairs"][0]["a"] == "dropout (broken)"
    assert content["pairs"][0]["b"] == "dropout (workspace)"
    assert verdicts(content) == {"dropout": "Helps"}
    assert git(project, "status", "--short", "--branch", "--ignored") == before


def test_a_at_one_revision_against_b_at_another(project: Path) -> None:
    content = revisions.compare(["base", "dropout"], ["noise", "broken"], root=project)
    (pair,) = content["pairs"]
    assert (pair["a"], pair["b"]) == ("base (noise)", "dropout (broken)")
    assert pair["verdict"] == "Hurts"


def test_both_at_one_revision(project: Path) -> None:
    content = revisions.compare(["base", "dropout"], ["broken", "broken"], root=project)
    assert content["pairs"][0]["a"] == "base"
    assert verdicts(content) == {"dropout": "Hurts"}


def test_a_study_alone(project: Path) -> None:
    content = revisions.compare([], ["start", "noise"], "other", project)
    assert verdicts(content) == {"lonely": "Practically the same"}
    with pytest.raises(ConfigError, match=r"studies of start: 'othr'.*did you mean 'other'"):
        revisions.compare([], ["start", "noise"], "othr", project)
    with pytest.raises(ConfigError, match="variants of start in study other: 'base'"):
        revisions.compare(["base"], ["start", "noise"], "other", project)


def test_a_dvc_experiment(project: Path) -> None:
    put(project, "dropout", 0.5, seed=60)
    try:
        dvc(project, "exp", "save", "-q", "-n", "brave-otter")
    finally:
        git(project, "checkout", "-q", "--", ".")
    content = revisions.compare(["dropout"], ["main", "brave-otter"], root=project)
    assert verdicts(content) == {"dropout": "Hurts"}
    assert len(content["b"]["commit"]) == 40


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("other-splits", "other split tables"),
        ("other-data", r"other data digests \(data0.* and newer"),
        ("other-cv", r"12 scores of 4 folds × 3 repeats, and study s has 5 folds × 3 repeats"),
        ("failed", r"dropout \(failed\) failed: loss is not finite"),
        ("missing", r"metrics/dropout.csv is not in missing; `git checkout missing && dvc repro"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(
    project: Path, tag: str, message: str
) -> None:
    found = reason(project, tag)
    assert re.search(message, found), found


def test_a_gate_does_not_pass_where_a_pair_is_refused(project: Path) -> None:
    content = revisions.compare([], ["start", "other-splits"], root=project)
    assert revisions.exit_status(content, fail_if_worse=False) == 0
    assert revisions.exit_status(content, fail_if_worse=True) == 2
    assert "not compared: dropout: " in revisions.text(content)
    assert "**No established loss in 2 pairs; 1 not compared.**" in revisions.markdown(content)


def test_other_studies_are_not_mixed(project: Path) -> None:
    content = revisions.compare(["base", "lonely"], [], root=project)
    assert "was trained in study other, not in s" in content["pairs"][0]["refused"]


def test_variants_of_one_side_alone_are_named(project: Path) -> None:
    content = revisions.compare([], ["start", "renamed"], root=project)
    assert (content["only_in_a"], content["only_in_b"]) == (["dropout"], ["droput"])
    assert "only in renamed, so not compared: droput" in revisions.text(content)


def test_results_that_are_not_in_the_workspace(project: Path) -> None:
    path = project / paths.metrics("dropout")
    path.rename(path.with_suffix(".away"))
    try:
        content = revisions.compare(["dropout"], ["start"], root=project)
    finally:
        path.with_suffix(".away").rename(path)
    assert "`dvc repro evaluate@dropout` makes them" in content["pairs"][0]["refused"]


@pytest.mark.parametrize(
    ("names", "revs", "message"),
    [
        (["dropout"], ["nope"], "--rev nope: unknown Git revision 'nope'.*`git fetch`"),
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
    with pytest.raises(ComparisonError, match=message):
        revisions.compare(names, revs, root=project)


def test_settings_that_cannot_be_read_are_named(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"params.yaml of old-settings: unheard-of: unknown key"):
        revisions.compare([], ["old-settings"], root=project)
    with pytest.raises(ConfigError, match=r"variants of start: 'dropot' is not.*'dropout'"):
        revisions.compare(["dropot"], ["start"], root=project)


def test_a_project_without_git_has_no_revisions(tmp_path: Path) -> None:
    dvc(tmp_path, "init", "-q", "--no-scm")
    (tmp_path / paths.PARAMS).write_text(PARAMS)
    with pytest.raises(ComparisonError, match="is not a git repository"):
        revisions.compare([], ["main"], root=tmp_path)


def test_tables_and_json(project: Path) -> None:
    content = revisions.compare([], ["start", "broken"], root=project)
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    header, row = revisions.text(content).splitlines()[3:5]
    assert row.startswith("dropout")
    assert header.index("verdict") == row.index("Hurts")
    page = revisions.markdown(content)
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert "- **Hurts**: dropout (broken) against dropout (start) changes accuracy by -" in page
    assert "Settings: `network.hidden_dropout` 0.2 → 0.9." in page
    assert "- the same scores to the last digit: base, lonely" in page


# --- through the pipeline ---------------------------------------------------------------------


@pytest.mark.slow
def test_one_dropout_rate_changed_between_two_real_commits(tmp_path: Path) -> None:
    """Trained by dvc; then what happens to results that are old, or whose run was not pulled."""
    git(tmp_path, "init", "-q")
    dvc(tmp_path, "init", "-q")
    demo.make_workspace(ROOT, tmp_path)
    params = tmp_path / paths.PARAMS
    params.write_text(params.read_text().replace("epochs: 60", "epochs: 6"))
    (tmp_path / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    for tag, rate in (("low", "0.2"), ("high", "0.9")):
        params.write_text(
            params.read_text().replace("hidden_dropout: 0.2", f"hidden_dropout: {rate}")
        )
        dvc(tmp_path, "repro", "-q", "evaluate@table-dropout", "evaluate@table-baseline")
        commit(tmp_path, tag)

    content = revisions.compare([], ["low"], "table", tmp_path)
    assert [x.get("refused") for x in content["pairs"]] == [None, None]
    assert [x["unchanged"] for x in content["pairs"]] == [True, False]
    assert "SYNTHETIC" in revisions.text(content)

    params.write_text(params.read_text().replace("hidden_dropout: 0.9", "hidden_dropout: 0.5"))
    commit(tmp_path, "not-trained")
    (pair,) = revisions.compare(["table-dropout"], ["low"], root=tmp_path)["pairs"]
    assert "variants.table-dropout modified" in pair["refused"]
    assert "`dvc repro evaluate@table-dropout`" in pair["refused"]
    (pair,) = revisions.compare(["table-dropout"], ["low", "not-trained"], root=tmp_path)["pairs"]
    assert "git checkout not-trained && dvc repro" in pair["refused"]

    git(tmp_path, "checkout", "-q", "high")
    metrics = json.loads((tmp_path / paths.metrics("table-dropout")).read_text())
    del metrics["split_digest"], metrics["data_digest"]
    files.write_json(tmp_path / paths.metrics("table-dropout"), metrics)
    commit(tmp_path, "earlier-foldwise")
    (pair,) = revisions.compare(["table-dropout"], ["low", "earlier-foldwise"], root=tmp_path)[
        "pairs"
    ]
    assert "refused" not in pair
    (tmp_path / ".dvc/cache").rename(tmp_path / "cache-away")
    (pair,) = revisions.compare(["table-dropout"], ["low", "earlier-foldwise"], root=tmp_path)[
        "pairs"
    ]
    assert "`dvc fetch --all-commits`" in pair["refused"]
