from foldwise.wording import tables

ROWS = [["name", "n", "share"], ["a", "10", "5.0 %"], ["long one", "7", "10.0 %"]]


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert tables.aligned(ROWS) == [
        "name      n   share",
        "a         10  5.0 %",
        "long one  7   10.0 %",
    ]


def test_columns_of_numbers_are_flush_right() -> None:
    assert tables.aligned(ROWS, left={0}) == [
        "name       n   share",
        "a         10   5.0 %",
        "long one   7  10.0 %",
    ]


def test_the_last_cell_of_a_short_row_spans_the_rest() -> None:
    why = "failed: the loss is not finite"
    assert tables.aligned([*ROWS, ["b", why]], left={0})[1:] == [
        "a         10   5.0 %",
        "long one   7  10.0 %",
        f"b         {why}",
    ]
    assert tables.markdown(ROWS[0], [["b", why]]).splitlines()[-1] == f"| b | {why} | – |"


def test_markdown_has_a_rule_and_no_bars_or_line_ends_in_its_cells() -> None:
    assert tables.markdown(["a", "b", "c"], [["1 | 2", "3\n4", "5"]], left=2).splitlines() == [
        "| a | b | c |",
        "| --- | --- | ---: |",
        "| 1 \\| 2 | 3 4 | 5 |",
    ]
