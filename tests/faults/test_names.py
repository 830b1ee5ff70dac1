"""Names and reasons that are HTML or Markdown are shown, and do nothing."""

import json
import re
from pathlib import Path

import fabricate
import pytest
from fabricate import TINY, Data, Project

from foldwise import reporting
from foldwise.core import config
from foldwise.core.errors import ConfigError
from foldwise.results.studies import read_studies
from foldwise.wording import notes, results

CLASSES = ("</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a | b\n# c")
REASON = "<script>alert(2)</script> | [x](javascript:alert(3))\n\n# no heading"
NAMES = ("../x", "-x", "x y", "x;y", "x/y", "<b>", "X", "", "x" * 61, "$(x)", "x\n")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose classes and failure are called like that."""
    data = {"pictures": Data((3, 4, 4), CLASSES)}
    failed = {"tiny-dropout": REASON}
    return fabricate.project(tmp_path_factory.mktemp("hostile"), TINY, data=data, failed=failed)


def test_the_report_shows_them_and_runs_nothing(hostile: Project, tmp_path: Path) -> None:
    studies = read_studies(hostile.config, hostile.root)
    reporting.write_report(studies, tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "onerror=alert(1)" in text
    assert not re.search(r"<script>alert|<img src=x|</script><script>alert", text)
    assert "default-src 'none'" in text


def test_markdown_tables_keep_their_cells(hostile: Project) -> None:
    text = results.readme_table(read_studies(hostile.config, hostile.root))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert any("alert(2)" in row for row in rows)
    assert_harmless(text)


def test_descriptions_in_mlflow_are_text(hostile: Project) -> None:
    for study in read_studies(hostile.config, hostile.root):
        for result in study.results:
            assert result.run is not None
            manifest = result.run.manifest
            for text in (
                notes.run(manifest, result.metrics, study.comparison),
                notes.model(manifest, "champion"),
            ):
                assert_harmless(text)


def assert_harmless(text: str) -> None:
    """No HTML, no link to a script, no heading."""
    assert not re.search(r"(?<!\\)<[A-Za-z/!?]", text), text
    assert not re.search(r"(?<!\\)\]\(javascript", text), text
    assert not re.search(r"^# ", text, re.MULTILINE), text


@pytest.mark.parametrize("name", NAMES)
def test_names_are_no_paths_options_or_shell(name: str) -> None:
    """They become files, arguments of stages, names in MLflow."""
    for old in ("tiny-plain", "tiny", "rows"):
        tree = config.read_yaml(TINY.params, "params.yaml")
        for block in ("variants", "studies", "datasets"):
            if old in tree[block]:
                tree[block][name] = tree[block].pop(old)
        with pytest.raises(ConfigError):
            config.parse(json.dumps(tree))
