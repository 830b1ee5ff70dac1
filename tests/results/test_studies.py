"""comparisons/<study>.json, and all of a study's results together."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from fabricate import TINY, Cache, lessons, run, write_comparison

from foldwise.comparison import compare_study
from foldwise.core import paths
from foldwise.core.errors import DamagedError, MissingError, ResultsError
from foldwise.evaluation import evaluate
from foldwise.results.comparisons import Pair, Refused, read_comparison
from foldwise.results.comparisons import write_comparison as write
from foldwise.results.evaluations import read_result, write_evaluation
from foldwise.results.runs import MANIFEST, RunFolder, write_run
from foldwise.results.studies import is_whole, read_studies, stale_results

FAILED = {"pictures-sigmoid": "the loss is not finite in r0-f02 at epoch 2"}
SMALL = lessons(pictures=100, repeats=1, epochs=3)


def test_a_comparison_is_read_as_it_was_written(fabricated: Cache, tmp_path: Path) -> None:
    made = fabricated.shared(SMALL, failed=FAILED)
    comparison = read_comparison(made.root, "pictures")
    assert [type(pair) for pair in comparison.pairs] == [Pair, Refused, Refused]
    assert comparison.made == comparison.pairs[:1]
    assert comparison.refused == comparison.pairs[1:]
    write(tmp_path, comparison)
    path = paths.comparison("pictures")
    assert (tmp_path / path).read_bytes() == (made.root / path).read_bytes()


def test_the_file_keeps_its_keys(fabricated: Cache) -> None:
    made = fabricated.shared(SMALL, failed=FAILED)
    tree = json.loads((made.root / paths.comparison("pictures")).read_text())
    assert set(tree) == {
        "study", "edition", "synthetic", "metric", "rope", "protocol", "variants", "metrics",
        "pairs",
    }  # fmt: skip
    pair, refused, _ = tree["pairs"]
    assert set(refused) == {"a", "b", "kind", "refused"}
    keys = (
        "a b kind n folds repeats mean sd se t df p p_holm ci95 naive_p mde posterior verdict "
        "ropes mcnemar bootstrap exploratory differences"
    )
    assert set(pair) == set(keys.split())
    assert set(pair["posterior"]) == {"worse", "equivalent", "better"}
    assert set(pair["ropes"][0]) == {"rope", "worse", "equivalent", "better"}
    assert set(pair["mcnemar"][0]) == {"repeat", "only_a", "only_b", "p"}
    assert set(pair["bootstrap"]) == {"mean", "ci95", "replicates"}
    assert [set(line) for line in pair["differences"]] == [{"repeat", "fold", "difference"}] * 5


def test_floats_have_ten_significant_digits(fabricated: Cache, tmp_path: Path) -> None:
    comparison = read_comparison(fabricated.shared().root, "tiny")
    pair = comparison.made[0].model_copy(update={"mean": 2 / 3, "ci95": (1 / 3, 200_000 / 3)})
    write(tmp_path, comparison.model_copy(update={"pairs": [pair]}))
    tree = json.loads((tmp_path / paths.comparison("tiny")).read_text())["pairs"][0]
    assert (tree["mean"], tree["ci95"]) == (0.6666666667, [0.3333333333, 66666.66667])


def test_a_comparison_that_is_not_there_or_damaged_is_named(
    fabricated: Cache, tmp_path: Path
) -> None:
    made = fabricated.copy(tmp_path)
    path = made.root / paths.comparison("tiny")
    tree = json.loads(path.read_text())
    tree["pairs"][0]["verdict"] = "Perhaps"
    path.write_text(json.dumps(tree))
    remedy = "`dvc repro compare@tiny` makes it"
    with pytest.raises(DamagedError, match=rf"tiny\.json: damaged \(pairs\.0.*{remedy}"):
        read_comparison(made.root, "tiny")
    path.unlink()
    with pytest.raises(MissingError, match=rf"tiny\.json: not there; {remedy}"):
        read_comparison(made.root, "tiny")


def test_studies_have_their_variants_in_the_order_of_params_yaml(fabricated: Cache) -> None:
    made = fabricated.shared(SMALL, failed=FAILED)
    pictures, echoes = read_studies(made.config, made.root)
    assert (pictures.name, echoes.name) == ("pictures", "echoes")
    assert [result.name for result in pictures.complete] == ["pictures-plain", "pictures-batchnorm"]
    assert [result.metrics.reason for result in pictures.failed] == [FAILED["pictures-sigmoid"]]
    assert [r.name for r in echoes.results] == [v.name for v in made.config.variants_of("echoes")]
    assert echoes.comparison == read_comparison(made.root, "echoes")
    assert all(result.run is not None and result.run.exists for result in echoes.results)


def test_only_what_is_declared_is_read(fabricated: Cache) -> None:
    made = fabricated.shared()
    fewer = made.only("tiny-plain", "pictures-plain")
    assert [len(study.results) for study in read_studies(fewer.config, made.root)] == [1, 1]


@pytest.mark.parametrize(
    "path",
    [
        paths.comparison("tiny"),
        paths.metrics("tiny-plain"),
        paths.scores("tiny-dropout"),
        paths.run("tiny-plain") / MANIFEST,
    ],
)
def test_a_study_is_whole_with_every_file(fabricated: Cache, tmp_path: Path, path: Path) -> None:
    made = fabricated.copy(tmp_path)
    assert is_whole(made.config, "tiny", made.root)
    (made.root / path).unlink()
    assert not is_whole(made.config, "tiny", made.root)
    assert is_whole(made.config, "pictures", made.root)


# --- what belongs together --------------------------------------------------------------------


def test_scores_of_another_training_are_refused_until_all_is_made_again(
    fabricated: Cache, tmp_path: Path
) -> None:
    """As after `dvc repro train@tiny-plain` alone, and then `evaluate@tiny-plain` alone."""
    made = fabricated.copy(tmp_path)
    assert stale_results(made.config, made.root) == []
    variant = made.config.variant("tiny-plain")
    trained = run(variant, TINY, seed=1)
    manifest = write_run(made.root / paths.run("tiny-plain"), trained)
    assert stale_results(made.config, made.root) == [
        "metrics/tiny-plain.json: made from another training than runs/tiny-plain/ holds; "
        "`dvc repro evaluate@tiny-plain` evaluates it again"
    ]
    with pytest.raises(ResultsError, match="made from another training"):
        read_studies(made.config, made.root)
    assert not is_whole(made.config, "tiny", made.root)
    assert is_whole(made.config, "pictures", made.root)
    results = {v.name: read_result(made.root, v.name) for v in made.config.variants_of("tiny")}
    (refused,) = compare_study(made.config.study("tiny"), results).refused
    assert "made from another training" in refused.refused

    write_evaluation(made.root, evaluate(replace(trained, manifest=manifest)))
    assert stale_results(made.config, made.root) == [
        "comparisons/tiny.json: made from other metrics of tiny-plain than metrics/ holds; "
        "`dvc repro compare@tiny` compares again"
    ]
    with pytest.raises(ResultsError, match="made from other metrics"):
        read_studies(made.config, made.root)

    write_comparison(made.root, TINY, "tiny")
    assert stale_results(made.config, made.root) == []
    assert is_whole(made.config, "tiny", made.root)


def test_the_same_training_again_is_the_same_run(fabricated: Cache, tmp_path: Path) -> None:
    made = fabricated.copy(tmp_path)
    write_run(made.root / paths.run("tiny-plain"), run(made.config.variant("tiny-plain"), TINY))
    assert stale_results(made.config, made.root) == []
    other = {"versions": {"python": "3.99"}}  # decides no bit
    folder = RunFolder(made.root / paths.run("tiny-plain"))
    assert folder.manifest.model_copy(update=other).digest == folder.manifest.digest


def test_what_says_nothing_is_believed(fabricated: Cache, tmp_path: Path) -> None:
    """Files of an older foldwise, and of a clone without run folders."""
    made = fabricated.copy(tmp_path)
    write_run(
        made.root / paths.run("tiny-plain"), run(made.config.variant("tiny-plain"), TINY, seed=1)
    )
    shutil.rmtree(made.root / paths.RUNS / "tiny-plain")
    assert stale_results(made.config, made.root) == []
    for path, key in (
        (paths.metrics("tiny-plain"), "run_digest"),
        (paths.comparison("tiny"), "metrics"),
    ):
        tree = json.loads((made.root / path).read_text())
        del tree[key]
        (made.root / path).write_text(json.dumps(tree))
    assert stale_results(made.config, made.root) == []


def test_a_verdict_can_be_fabricated(fabricated: Cache, tmp_path: Path) -> None:
    made = fabricated.copy(tmp_path)
    write_comparison(made.root, TINY, "tiny", verdicts={"tiny-dropout": "Hurts"})
    assert [pair.verdict for pair in read_comparison(made.root, "tiny").made] == ["Hurts"]
