"""Where everything lies, relative to the project's root (the folder of dvc.yaml)."""

from pathlib import Path

PARAMS = Path("params.yaml")
RAW = Path("data/raw")
PREPARED = Path("data/prepared")
SPLITS = Path("data/splits")
RUNS = Path("runs")
METRICS = Path("metrics")
COMPARISONS = Path("comparisons")
PLOTS = Path("plots")
REPORT = Path("reports/index.html")
TRACKED = Path(".foldwise/tracked.json")
LIVE = Path(".foldwise/live")
STORE = Path(".foldwise/splits")
ERRORS = Path(".foldwise/errors")


def raw(dataset: str) -> Path:
    """Folder with the bytes of a data set as downloaded, and provenance.json."""
    return RAW / dataset


def prepared(dataset: str) -> Path:
    """Folder with the arrays of a data set, and meta.json."""
    return PREPARED / dataset


def splits(study: str) -> Path:
    """Split table of a study."""
    return SPLITS / f"{study}.parquet"


def run(variant: str) -> Path:
    """Run folder of a variant."""
    return RUNS / variant


def metrics(variant: str) -> Path:
    """Metrics of a variant: numbers only, for `dvc metrics`."""
    return METRICS / f"{variant}.json"


def scores(variant: str) -> Path:
    """Scores of a variant, one line per split."""
    return METRICS / f"{variant}.csv"


def journal(variant: str) -> Path:
    """Journal of a variant's training, for whoever watches it."""
    return LIVE / f"{variant}.jsonl"


def comparison(study: str) -> Path:
    """Paired comparisons of a study."""
    return COMPARISONS / f"{study}.json"


def home(root: Path) -> Path:
    """The project's root; for a folder that DVC made for a queued experiment, the outer one's."""
    root = root.resolve()
    for folder in root.parents:
        if folder.name == ".dvc" and root.relative_to(folder).parts[:2] == ("tmp", "exps"):
            return folder.parent
    return root


def is_experiment(root: Path) -> bool:
    """Whether this is a folder that DVC made for a queued or temporary experiment."""
    return home(root) != root.resolve()
