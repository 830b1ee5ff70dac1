"""metrics/<variant>.json and .csv: what is written is read, and what is not as written named."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from fabricate import TINY, Data, Plan, run

from foldwise.core import paths
from foldwise.core.errors import DamagedError, MissingError
from foldwise.evaluation import evaluate
from foldwise.metrics import METRICS
from foldwise.results.evaluations import (
    COLUMNS,
    Evaluation,
    Metrics,
    parse_scores,
    read_evaluation,
    read_result,
    write_evaluation,
)

NAME = "tiny-plain"
VARIANT = TINY.config.variant(NAME)
MADE = evaluate(run(VARIANT, TINY, data={"rows": Data(test_rows=8)}))  # of no run folder


def write(root: Path, made: Evaluation = MADE) -> tuple[Path, Path]:
    write_evaluation(root, made)
    return root / paths.metrics(NAME), root / paths.scores(NAME)


def test_what_was_written_is_read_to_ten_digits(tmp_path: Path) -> None:
    metrics, scores = write(tmp_path)
    again = read_evaluation(tmp_path, NAME)
    pd.testing.assert_frame_equal(again.scores, MADE.scores, rtol=1e-9)
    assert again.metrics.primary.mean == pytest.approx(MADE.metrics.primary.mean, rel=1e-9)
    before = metrics.read_bytes(), scores.read_bytes()
    assert [path.read_bytes() for path in write(tmp_path, again)] == list(before)


def test_floats_have_ten_significant_digits(tmp_path: Path) -> None:
    score = MADE.metrics.primary.model_copy(update={"mean": 2 / 3})
    metrics = MADE.metrics.model_copy(update={"scores": {"accuracy": score}})
    made = Evaluation(metrics, MADE.scores.assign(accuracy=2 / 3))
    json_file, csv_file = write(tmp_path, made)
    assert json.loads(json_file.read_text())["accuracy"]["mean"] == 0.6666666667
    assert set(pd.read_csv(csv_file)["accuracy"]) == {0.6666666667}


def test_the_file_is_for_dvc_metrics(tmp_path: Path) -> None:
    """Numbers, names and nested mappings of them; every metric stands under its own name."""

    def leaves(tree: object) -> list[object]:
        return [x for v in tree.values() for x in leaves(v)] if isinstance(tree, dict) else [tree]

    tree = json.loads(write(tmp_path)[0].read_text())
    assert {type(leaf) for leaf in leaves(tree)} == {str, bool, int, float}
    assert set(METRICS) < set(tree)
    assert set(tree["accuracy"]) == {
        "mean", "sd_over_splits", "se_corrected", "ci95_low", "ci95_high",
    }  # fmt: skip
    assert set(tree["brier"]) == {"mean", "sd_over_splits"}
    assert set(tree) - set(METRICS) == {
        "variant", "study", "edition", "synthetic", "data_digest", "status", "metric", "splits",
        "rows", "split_digest", "train_accuracy", "train_loss", "gap", "recall", "test",
    }  # fmt: skip


def test_a_failed_run_has_a_reason_and_no_numbers(tmp_path: Path) -> None:
    failed = evaluate(run(VARIANT, TINY, failed={NAME: "the loss is not finite in r0-f01"}))
    metrics, scores = write(tmp_path, failed)
    assert set(json.loads(metrics.read_text())) == {
        "variant", "study", "edition", "synthetic", "data_digest", "status", "reason", "metric",
    }  # fmt: skip
    assert scores.read_text() == ",".join(COLUMNS) + "\n"
    again = read_evaluation(tmp_path, NAME)
    assert again.metrics == failed.metrics
    assert not again.metrics.complete
    assert again.scores.empty


def test_what_could_not_be_computed_is_written_and_read(tmp_path: Path) -> None:
    reason = "split r0-f00: no row is of class 1, and ROC AUC needs rows of every class"
    scores = {name: s for name, s in MADE.metrics.scores.items() if name != "roc_auc"}
    update = {"missing": {"roc_auc": reason}, "scores": scores}
    made = Evaluation(MADE.metrics.model_copy(update=update), MADE.scores.assign(roc_auc=math.nan))
    write(tmp_path, made)
    again = read_evaluation(tmp_path, NAME)
    assert again.metrics.missing == {"roc_auc": reason}
    assert set(again.metrics.scores) == set(METRICS) - {"roc_auc"}
    assert again.scores["roc_auc"].isna().all()


def test_files_of_an_older_foldwise_are_read() -> None:
    """Without digests, without the metrics that it did not know."""
    tree = {"variant": "v", "study": "s", "edition": "uci", "synthetic": False}
    tree |= {"status": "complete", "accuracy": {"mean": 0.5, "sd_over_splits": 0.1}}
    old = Metrics.model_validate(tree)
    assert (old.metric, old.data_digest, old.primary.mean) == ("accuracy", None, 0.5)
    csv = b"repeat,fold,n_train,n_validation,accuracy\n0,0,3,2,0.5\n"
    assert list(parse_scores(csv, "old.csv", "again")["accuracy"]) == [0.5]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "No columns"),
        (b"repeat,fold\n0,0\n", "no column 'n_train'"),
        (b"\xff\xfe\x00repeat", "codec"),
        (b'repeat,"fold\n0', "EOF inside string"),
    ],
)
def test_a_damaged_table_is_named(content: bytes, reason: str) -> None:
    with pytest.raises(DamagedError, match=f"m.csv: damaged \\(.*{reason}.*; make it again"):
        parse_scores(content, "m.csv", "make it again")


def test_missing_and_damaged_files_are_named_with_their_stage(tmp_path: Path) -> None:
    metrics, scores = write(tmp_path)
    remedy = "`dvc repro evaluate@tiny-plain` makes it"
    scores.unlink()
    with pytest.raises(MissingError, match=rf"tiny-plain\.csv: not there; {remedy}"):
        read_evaluation(tmp_path, NAME)
    metrics.write_text(metrics.read_text().replace('"complete"', "7"))
    with pytest.raises(DamagedError, match=rf"tiny-plain\.json: damaged \(status: .*{remedy}"):
        read_evaluation(tmp_path, NAME)
    metrics.unlink()
    with pytest.raises(MissingError, match=rf"tiny-plain\.json: not there; {remedy}"):
        read_evaluation(tmp_path, NAME)


def test_a_result_reads_its_run_only_when_asked(tmp_path: Path) -> None:
    write(tmp_path)
    result = read_result(tmp_path, NAME)
    assert (result.name, result.metrics.study) == (NAME, "tiny")
    assert result.run is not None
    assert not result.run.exists
    with pytest.raises(MissingError):
        _ = result.run.manifest


def test_any_plan_of_the_tests_can_be_evaluated(tmp_path: Path) -> None:
    """The fabricator's own promise: whole files for tables and pictures, test rows or none."""
    plan = Plan(TINY.params, {"pictures": Data((3, 4, 4), ("a", "b", "c"), test_rows=5)})
    made = evaluate(run(plan.config.variant("pictures-plain"), plan))
    write_evaluation(tmp_path, made)
    again = read_evaluation(tmp_path, "pictures-plain")
    assert again.metrics.test is not None
    assert again.metrics.test.rows == 5
    assert set(again.metrics.recall) == {"a", "b", "c"}
