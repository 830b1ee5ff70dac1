"""comparisons/<study>.json, and all of a study's results together."""

import json
from pathlib import Path

import pytest
from fabricate import TINY, Cache, lessons, write_comparison

from foldwise.core import paths
from foldwise.core.errors import DamagedError, MissingError
from foldwise.results.comparisons import Pair, Refused, read_comparison
from foldwise.results.comparisons import write_comparison as write
from foldwise.results.runs import MANIFEST
from foldwise.results.studies import is_whole, read_studies

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
        "study", "edition", "synthetic", "metric", "rope", "protocol", "variants", "pairs",
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


def test_a_verdict_can_be_fabricated(fabricated: Cache, tmp_path: Path) -> None:
    made = fabricated.copy(tmp_path)
    write_comparison(made.root, TINY, "tiny", verdicts={"tiny-dropout": "Hurts"})
    assert [pair.verdict for pair in read_comparison(made.root, "tiny").made] == ["Hurts"]
