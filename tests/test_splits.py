"""Folds partition the rows, are stratified, and depend on nothing but labels, settings, seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from foldwise.core.config import CrossValidation
from foldwise.core.errors import DataError
from foldwise.metrics import METRICS
from foldwise.numerics.split import REFIT, split_name
from foldwise.splits import check_metric, split_table, splits_of

Y = np.array([0] * 97 + [1] * 111)


@settings(max_examples=30)
@given(folds=st.integers(2, 8), repeats=st.integers(1, 3), seed=st.integers(0, 9))
def test_folds_partition_and_are_stratified(folds: int, repeats: int, seed: int) -> None:
    plan = splits_of(split_table(Y, CrossValidation(folds=folds, repeats=repeats, seed=seed)))
    assert len(plan) == folds * repeats + 1
    for repeat in range(repeats):
        members = [split for split in plan if split.repeat == repeat]
        assert [split.fold for split in members] == list(range(folds))
        held_out = np.concatenate([split.held_out for split in members])
        assert sorted(held_out) == list(range(len(Y)))
        for split in members:
            assert not set(split.train) & set(split.held_out)
            assert len(split.train) + len(split.held_out) == len(Y)
            assert abs(Y[split.held_out].sum() - 111 / folds) <= 1


def test_refit_is_last_and_trains_on_every_row() -> None:
    last = splits_of(split_table(Y, CrossValidation(folds=5)))[-1]
    assert (last.repeat, last.fold) == (REFIT, REFIT)
    assert list(last.train) == list(range(len(Y)))
    assert len(last.held_out) == 0


def test_first_repeat_is_sklearns_stratified_k_fold() -> None:
    plan = splits_of(split_table(Y, CrossValidation(folds=10, repeats=2, seed=3)))
    reference = StratifiedKFold(10, shuffle=True, random_state=3).split(Y, Y)
    for split, (train, held_out) in zip(plan, reference, strict=False):
        np.testing.assert_array_equal(split.train, train)
        np.testing.assert_array_equal(split.held_out, held_out)


def test_more_repeats_keep_the_earlier_ones() -> None:
    few = split_table(Y, CrossValidation(folds=5, repeats=2, seed=1))
    many = split_table(Y, CrossValidation(folds=5, repeats=4, seed=1))
    assert few.equals(many[many["repeat"] < 2])
    assert not many[many["repeat"] == 2]["fold"].equals(many[many["repeat"] == 3]["fold"])


def test_a_class_smaller_than_the_folds_is_refused() -> None:
    with pytest.raises(DataError, match=r"3 rows, fewer than 5 folds; set cv\.folds to at most 3"):
        split_table(np.array([0] * 9 + [1] * 3), CrossValidation(folds=5))


def test_a_class_of_one_row_is_refused_with_a_remedy_that_works() -> None:
    cv = CrossValidation(folds=2)
    with pytest.raises(DataError, match=r"a class has a single row.*; add rows of it$"):
        split_table(np.array([0] * 9 + [1]), cv)
    split_table(np.array([0] * 9 + [1, 1]), cv)
    with pytest.raises(DataError, match=r"add rows of it or leave it out$"):
        split_table(np.array([0, 0, 1, 1, 2]), cv)
    split_table(np.array([0, 0, 1, 1]), cv)


def test_a_single_class_is_refused() -> None:
    with pytest.raises(DataError, match="single class"):
        split_table(np.ones(20, dtype=int), CrossValidation(folds=5))


def test_the_order_of_a_tables_lines_does_not_matter() -> None:
    table = split_table(Y, CrossValidation(folds=5, repeats=2))
    mixed = splits_of(table.sample(frac=1, random_state=0))
    for split, other in zip(splits_of(table), mixed, strict=True):
        assert (split.repeat, split.fold) == (other.repeat, other.fold)
        np.testing.assert_array_equal(split.train, other.train)
        np.testing.assert_array_equal(split.held_out, other.held_out)


def test_names() -> None:
    assert split_name(0, 3) == "r0-f03"
    assert split_name(REFIT, REFIT) == "refit"


def test_a_metric_that_a_split_does_not_allow_is_refused() -> None:
    auc, accuracy = METRICS["roc_auc"].problem, METRICS["accuracy"].problem
    table = split_table(Y, CrossValidation(folds=5))
    check_metric(auc, Y, 2, table)
    check_metric(accuracy, Y, 3, table)
    with pytest.raises(DataError, match=r"split r0-f00: no row is of class 2.*comparison\.metric"):
        check_metric(auc, Y, 3, table)
    in_file_order = table.assign(fold=table["row"] * 5 // len(Y))
    with pytest.raises(DataError, match="split r0-f00: no row is of class 1"):
        check_metric(auc, Y, 2, in_file_order)
