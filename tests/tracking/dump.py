"""Everything that an MLflow store holds, as JSON that two stores of the same results share.

`python tests/tracking/dump.py mlflow.db > store.json`, and `diff` two of them. Ids, times, digests
of the code, and facts of machine and commit are left out; what a run is called by stands for it.
"""

import hashlib
import json
import sys
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import mlflow.artifacts
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

PAGE = 1000
VOLATILE_TAGS = {
    MLFLOW_PARENT_RUN_ID,
    "foldwise.spec",  # these three contain the code's digest
    "foldwise.outputs",
    "foldwise.summary",
    "foldwise.created",
    "mlflow.modelVersions",
    "champion_since",
    "champion_until",
}
OF_COMMIT = {"git_commit", "mlflow.source.git.commit", "dirty"}
MACHINE_METRICS = {"duration_seconds", "peak_memory_mib"}
VOLATILE_MODEL = {
    "artifact_path",
    "model_id",
    "model_size_bytes",
    "model_uuid",
    "run_id",
    "utc_time_created",
}


def dump(client: MlflowClient, tags_of_commit: bool = False) -> dict[str, Any]:
    """Experiments with their runs and models, and registered models with their versions."""
    left_out = VOLATILE_TAGS | (set() if tags_of_commit else OF_COMMIT)
    experiments = {}
    names: dict[str, str] = {}
    for experiment in client.search_experiments(max_results=PAGE):
        runs = search(client, experiment.experiment_id)
        names |= {run.info.run_id: name_of(run) for run in runs}
        experiments[experiment.name] = {
            "tags": dict(experiment.tags),
            "runs": {name_of(run): content(client, run, names, left_out) for run in runs},
        }
    return {
        "experiments": experiments,
        "models": {
            model.name: registered(client, model, names, left_out)
            for model in client.search_registered_models(max_results=PAGE)
        },
    }


def search(client: MlflowClient, experiment: str) -> list[Run]:
    """All runs of an experiment."""
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment], max_results=PAGE, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def name_of(run: Run) -> str:
    """What stands for a run: its variant, its split, and whose results they are."""
    tags = run.data.tags
    parts = [tags["variant"], tags.get("split", ""), tags.get("experiment", "")]
    current = "" if tags.get("foldwise.current") == "true" else "not current"
    return " ".join(part for part in (*parts, current) if part)


def content(
    client: MlflowClient, run: Run, names: dict[str, str], left_out: set[str]
) -> dict[str, Any]:
    """Everything about a run but its ids and times."""
    outputs = run.outputs.model_outputs if run.outputs else []
    parent = run.data.tags.get(MLFLOW_PARENT_RUN_ID)
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "parent": parent and names.get(parent, parent),
        "tags": kept(run.data.tags, left_out),
        "params": dict(run.data.params),
        "metrics": {
            key: [[m.step, m.value] for m in client.get_metric_history(run.info.run_id, key)]
            for key in sorted(set(run.data.metrics) - MACHINE_METRICS)
        },
        "inputs": [dataset(each) for each in run.inputs.dataset_inputs],
        "models": [model(client, each.model_id, left_out) for each in outputs],
        "artifacts": files(run.info.artifact_uri),
    }


def dataset(given: Any) -> dict[str, Any]:
    """A data set that a run was given."""
    names = ("name", "digest", "source_type", "source", "schema", "profile")
    facts = {name: getattr(given.dataset, name) for name in names}
    return facts | {"tags": {tag.key: tag.value for tag in given.tags}}


def model(client: MlflowClient, model_id: str, left_out: set[str]) -> dict[str, Any]:
    """A logged model, its files among it."""
    logged = client.get_logged_model(model_id)
    return {
        "name": logged.name,
        "status": str(logged.status),
        "tags": kept(logged.tags, left_out),
        "metrics": {m.key: m.value for m in logged.metrics or []},
        "files": files(logged.artifact_location),
    }


def registered(
    client: MlflowClient, model: Any, names: dict[str, str], left_out: set[str]
) -> dict[str, Any]:
    """A registered model, its versions in order."""
    versions = client.search_model_versions(f"name = '{model.name}'", PAGE)
    return {
        "description": model.description,
        "tags": dict(model.tags),
        "aliases": {alias: str(version) for alias, version in model.aliases.items()},
        "versions": {
            str(version.version): {
                "run": names.get(version.run_id, version.run_id),
                "description": version.description,
                "tags": kept(version.tags, left_out),
            }
            for version in versions
        },
    }


def kept(tags: dict[str, str], left_out: set[str]) -> dict[str, str]:
    """The tags that two stores share."""
    return {key: value for key, value in tags.items() if key not in left_out}


def files(uri: str) -> dict[str, Any]:
    """What is in a folder of artifacts: the digest of each file, or what it says."""
    parts = urlsplit(uri)
    folder = Path(unquote(parts.path))
    if parts.scheme != "file":
        folder = Path(mlflow.artifacts.download_artifacts(uri))
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): said(path) for path in paths}


def said(path: Path) -> Any:
    """A file's digest; of those that have ids or times in them, the rest of their content."""
    if path.name == "MLmodel":
        tree = yaml.safe_load(path.read_text())
        return {key: value for key, value in tree.items() if key not in VOLATILE_MODEL}
    if path.suffix == ".pt2":  # an export has its time in it
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if "/weights/weight" in name]
            return {name.split("/", 1)[1]: digest(archive.read(name)) for name in sorted(names)}
    return digest(path.read_bytes())


def digest(content: bytes) -> str:
    """The first characters of a sha256."""
    return hashlib.sha256(content).hexdigest()[:16]


if __name__ == "__main__":
    address = f"sqlite:///{Path(sys.argv[1]).resolve()}"
    print(json.dumps(dump(MlflowClient(address)), indent=1, sort_keys=True, ensure_ascii=False))
