"""The pages of the MLflow UI that people look at most, opened in a real browser.

`python tests/tracking/mlflow_pages.py http://127.0.0.1:5000 STUDY docs/images` takes their
pictures from a running `foldwise ui`, as they are in the README.
"""

import base64
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).parent.parent))
from chromium import Browser, browser
from mlflow import MlflowClient

VARIANTS = """tags.role = "variant" and tags.`foldwise.current` = "true\""""


CLOSE_PANELS = """
document.querySelectorAll('button[aria-label]').forEach(
    (button) => /close/i.test(button.getAttribute('aria-label')) && button.click())
"""
# Nothing has been added for a second and a half: charts are drawn late.
SETTLED = """
(() => {
    const now = document.body.innerText.length + document.querySelectorAll('*').length;
    const same = window.foldwiseSeen === now && Date.now() - window.foldwiseSince > 1500;
    if (window.foldwiseSeen !== now) {
        window.foldwiseSeen = now;
        window.foldwiseSince = Date.now();
    }
    return same;
})()
"""


@dataclass(frozen=True)
class Page:
    """An address below the server's, and the texts that show that it has loaded."""

    path: str
    texts: tuple[str, ...]


def pages(client: MlflowClient, study: str) -> dict[str, Page]:
    """The study's experiment, the compare view, its first parent, and that one's first child."""
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    place = f"/#/experiments/{experiment.experiment_id}/runs"
    parents = client.search_runs([experiment.experiment_id], VARIANTS.replace('"', "'"))
    first = parents[-1].info
    children = client.search_runs(
        [experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{first.run_id}'"
    )
    child = min(
        children, key=lambda run: run.data.tags["split"] + "~" * (run.info.run_name == "refit")
    )
    names = tuple(sorted(run.data.tags["variant"][:20] for run in parents))
    ids = [run.info.run_id for run in parents]
    compared = (
        f"runs={quote(json.dumps(ids))}&experiments={quote(json.dumps([first.experiment_id]))}"
    )
    return {
        "experiment": Page(f"{place}?searchFilter={quote(VARIANTS)}", names),
        "charts": Page(
            f"{place}?searchFilter={quote(VARIANTS)}&compareRunsMode=CHART", ("accuracy",)
        ),
        "compare": Page(f"/#/compare-runs?{compared}", (f"Comparing {len(ids)} Runs", *names)),
        "parent": Page(f"{place}/{first.run_id}", ("Description", "Accuracy", "Child runs")),
        "child": Page(
            f"{place}/{child.info.run_id}/model-metrics", ("train_loss", "validation_accuracy")
        ),
    }


def show(window: Browser, address: str, page: Page) -> None:
    """Open a page and wait until it says what it has to."""
    window.open("about:blank")
    window.open(address + page.path, width=1400, height=900)
    for text in page.texts:
        window.wait_for(f"!!document.body?.innerText.includes({json.dumps(text)})")


def picture(window: Browser, path: Path) -> None:
    """The window as it is."""
    answer = window.call("Page.captureScreenshot", format="png")
    path.write_bytes(base64.b64decode(answer["data"]))


def main(address: str, study: str, folder: Path) -> None:
    """Take the pictures of the README."""
    client = MlflowClient(address)
    with tempfile.TemporaryDirectory() as profile, browser(Path(profile)) as window:
        for name, page in pages(client, study).items():
            show(window, address, page)
            window.evaluate(CLOSE_PANELS)
            window.wait_for(SETTLED)
            picture(window, folder / f"mlflow-{name}.png")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
