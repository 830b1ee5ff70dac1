"""No message of ours shows a password."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldwise.core import paths
from foldwise.core.endings import UNEXPECTED, status_of
from foldwise.core.errors import DataError, masked

SIGNS = st.characters(exclude_categories=["C", "Z"], exclude_characters="/'\"<>?")
SECRET = st.text(SIGNS, min_size=9).map("x{}".format)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://u:p@h/x: HTTP 404", "http://***@h/x: HTTP 404"),
        ("HTTPS://token@h.org:80/a?sig=1; no", "HTTPS://***@h.org:80/a?***; no"),
        ("postgresql+psycopg2://a:b@c@db/x?password=1", "postgresql+psycopg2://***@db/x?***"),
        ("'http://a:b@h/' and (http://h/y?k=1)", "'http://***@h/' and (http://h/y?***)"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("mail to a@b.c: why? http://h/a@b", "mail to a@b.c: why? http://h/a@b"),
    ],
)
def test_addresses_show_neither_user_nor_password_nor_query(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert str(DataError(text)) == shown


@given(SECRET)
def test_no_password_is_left(secret: str) -> None:
    assert secret not in masked(f"x: http://me:{secret}@h/y: HTTP 404")
    assert secret not in masked(f"x: https://h/y?sig={secret}")


def test_no_password_is_left_where_nobody_thought_of_the_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither in what is said, nor in the traceback that is kept."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / paths.PARAMS).touch()

    def work() -> None:
        raise ZeroDivisionError("at http://me:secret@h/x?sig=secret")

    assert status_of(work) == UNEXPECTED
    assert "at http://***@h/x?***" in capsys.readouterr().err
    (kept,) = (tmp_path / paths.ERRORS).iterdir()
    assert "ZeroDivisionError: at http://***@h/x?***" in kept.read_text()
