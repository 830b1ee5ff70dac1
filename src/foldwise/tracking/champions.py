"""The model registry: one registered model per study, one version per result of a variant.

A version is the refit model of the results that its tag `foldwise.outputs` names. Who holds the
alias `champion` is decided each time that results are tracked:

1. Only results of a clean commit count, tracked in the project itself: not from a working tree
   with uncommitted changes, not by an experiment, not of another commit.
2. Without a holder, the study's baseline becomes champion.
3. When the champion's variant has new results, the alias follows to their version.
4. A variant that comparisons/<study>.json calls better than the champion's takes the alias (it
   *Helps* against that one, or that one *Hurts* against it); of several, the one with the highest
   mean accuracy. Again from there, until none is called better.
5. In any other case, and where it was given by hand, it stays where it is.

Given by hand means by `foldwise promote` or in the MLflow UI: the holder then has no tag
`champion_by: track`, or has a tag `champion_until`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from foldwise import results
from foldwise.core.errors import TrackingError
from foldwise.tracking import Summary, store
from foldwise.tracking.place import CHAMPION
from foldwise.tracking.records import CREATED, CURRENT, OUTPUTS, VariantRun

STUDY = "foldwise.study"  # tag of a registered model that is a study's
BY, SINCE, UNTIL, WHY = "champion_by", "champion_since", "champion_until", "champion_why"
TRACK = "track"  # value of BY where nobody gave it by hand
ORIGIN = ("git_commit", "dirty", "experiment", "baseline_rev")
SCORES = {
    "accuracy": "accuracy",
    "accuracy_sd": "accuracy_sd_over_splits",
    "splits": "splits",
    "test_accuracy": "test_refit_accuracy",
}
LONGEST = 5000  # characters of a description that every database takes
PAGE = 1000


@dataclass
class Registered:
    """Keeps the registered model of one study.

    Attributes:
        client: of the store.
        experiment: id of the study's experiment.
        runs: of the study's variants, mirrored already; one at least.
        baseline: of the study.
        summary: gains what is done here.
    """

    client: MlflowClient
    experiment: str
    runs: Sequence[VariantRun]
    baseline: str
    summary: Summary

    @property
    def name(self) -> str:
        """The study, which is the model's name."""
        return self.runs[0].study

    def sync(self) -> None:
        """Register what is not registered yet, revise what is, and see to the champion."""
        refits = {run.name: self._refit(run) for run in self.runs}
        complete = [(run, refit) for run in self.runs if (refit := refits[run.name])]
        if not complete:
            return
        self._describe([run for run, _ in complete])
        versions = _versions(self.client, self.name)
        held = {run.name: self._version(run, refit, versions) for run, refit in complete}
        if self.runs[0].current == "true":
            self._decide(held)

    # --- versions -----------------------------------------------------------------------------

    def _refit(self, run: VariantRun) -> Run | None:
        """The run of the network that was trained on all rows; none of a variant that failed."""
        split = results.split_name(results.REFIT, results.REFIT)
        condition = f"tags.`{OUTPUTS}` = '{run.outputs}' AND tags.split = '{split}'"
        finished = f"{condition} AND attributes.status = 'FINISHED'"
        found = self.client.search_runs([self.experiment], finished)
        return min(found, key=lambda run: int(run.data.tags.get(CREATED, 0)), default=None)

    def _describe(self, runs: Sequence[VariantRun]) -> None:
        """Make the registered model where there is none, and keep its description true."""
        run = next((run for run in runs if run.name == self.baseline), runs[0])
        description = _model_description(run)
        model = _model(self.client, self.name)
        if model is None:
            with store.tolerating("RESOURCE_ALREADY_EXISTS"):  # another `track` was faster
                self.client.create_registered_model(self.name, {STUDY: self.name}, description)
            return
        if STUDY not in model.tags:
            self.client.set_registered_model_tag(self.name, STUDY, self.name)
        if run.current == "true" and model.description != description:
            self.client.update_registered_model(self.name, description)

    def _version(
        self, run: VariantRun, refit: Run, versions: Sequence[ModelVersion]
    ) -> ModelVersion:
        """The one version of a variant's results, made where there is none."""
        same = _of(versions, run)
        if not any(version.run_id == refit.info.run_id for version in same):
            self._create(run, refit)
            same = _of(_versions(self.client, self.name), run)
        kept = next(version for version in same if version.run_id == refit.info.run_id)
        for other in same:
            if other is not kept:
                self._replace(other, kept)
        if run.current == "true":
            self._revise(run, kept)
        return kept

    def _create(self, run: VariantRun, refit: Run) -> None:
        outputs = self.client.get_run(refit.info.run_id).outputs
        assert outputs is not None  # a run is finished after its model
        model = self.client.get_logged_model(outputs.model_outputs[0].model_id)
        tags = {
            "variant": run.name,
            "dataset": str(run.dataset["name"]),
            "edition": str(run.dataset["edition"]),
            "synthetic": json.dumps(run.dataset["synthetic"]),
            OUTPUTS: run.outputs,
            CURRENT: run.current,
            **_origin(run),
            **self._revisable(run),
        }
        version = self.client.create_model_version(
            self.name,
            model.artifact_location,
            refit.info.run_id,
            tags,
            description=_version_description(run),
            model_id=model.model_id,
        )
        link = json.dumps([{"name": self.name, "version": version.version}])
        self.client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: link})
        self.summary.registered += 1

    def _replace(self, old: ModelVersion, new: ModelVersion) -> None:
        """Delete a version whose run is gone, or that came twice; its aliases go to the other."""
        for key in (BY, SINCE, UNTIL, WHY):
            if key in old.tags:
                self.client.set_model_version_tag(self.name, new.version, key, old.tags[key])
        model = self.client.get_registered_model(self.name)
        for alias, number in model.aliases.items():
            if int(number) == int(old.version):
                self.client.set_registered_model_alias(self.name, alias, new.version)
        with store.tolerating("RESOURCE_DOES_NOT_EXIST"):  # another `track` was faster
            self.client.delete_model_version(self.name, old.version)

    def _revise(self, run: VariantRun, version: ModelVersion) -> None:
        """Bring up to date what may change: scores, verdict, currency, and an unclean origin."""
        wanted, origin = {CURRENT: "true", **self._revisable(run)}, _origin(run)
        if unclean(version.tags) and "dirty" in origin and not unclean(origin):
            wanted |= origin
            for key in set(ORIGIN) & set(version.tags) - set(origin):
                self.client.delete_model_version_tag(self.name, version.version, key)
        for key, value in wanted.items():
            if version.tags.get(key) != value:
                self.client.set_model_version_tag(self.name, version.version, key, value)
        description = _version_description(run)
        if version.description != description:
            self.client.update_model_version(self.name, version.version, description)

    def _revisable(self, run: VariantRun) -> dict[str, str]:
        finals = run.parent.finals
        scores = {tag: f"{finals[key]:g}" for tag, key in SCORES.items() if key in finals}
        return scores | {"verdict": self._verdict(run)}

    def _verdict(self, run: VariantRun) -> str:
        """What the comparison says of a variant against the baseline."""
        if run.name == self.baseline:
            return "baseline"
        pairs = [pair for pair in run.pairs if (pair["a"], pair["b"]) == (self.baseline, run.name)]
        return str(pairs[0].get("verdict", "refused")) if pairs else "not compared"

    # --- champion -----------------------------------------------------------------------------

    def _decide(self, held: Mapping[str, ModelVersion]) -> None:
        """Move the alias by the rule at the top of this module.

        Args:
            held: the version of each variant's present results.
        """
        champion = _champion(self.client, self.name)
        means = {
            run.name: run.parent.finals.get("accuracy", 0.0)
            for run in self.runs
            if run.name in held
        }
        holder = champion.tags.get("variant") if champion else None
        winner, why = successor(holder, self.baseline, means, self.runs[0].pairs)
        target = held.get(winner or "")
        if target is not None and (champion is None or champion.version != target.version):
            obstacle, short = self._obstacle(champion), why.split(";")[0]
            if obstacle:
                self.summary.notes.append(
                    f"{self.name}: version {target.version} ({winner}) does not become champion "
                    f"({short}): {obstacle}"
                )
            else:
                _crown(self.client, self.name, str(target.version), TRACK, why)
                self.summary.notes.append(
                    f"{self.name}: version {target.version} ({winner}) is champion: {short}"
                )
        _close(self.client, self.name)

    def _obstacle(self, champion: ModelVersion | None) -> str:
        """Why the alias must not move; "" where it may."""
        if champion and (champion.tags.get(BY) != TRACK or UNTIL in champion.tags):
            return (
                f"version {champion.version} was made champion by hand; `foldwise promote` moves it"
            )
        return unclean(self.runs[0].context)


def supersede(
    client: MlflowClient, studies: Iterable[str], outputs: Iterable[str], missing: Iterable[str]
) -> None:
    """Mark versions of results that the project no longer has; variants without results stay.

    Args:
        client: of the store.
        studies: whose registered models are looked through.
        outputs: `foldwise.outputs` of all results that the project has.
        missing: variants without results.
    """
    valid, waiting = set(outputs), set(missing)
    for study in studies:
        for version in _versions(client, study):
            tags = version.tags
            is_valid = tags.get(OUTPUTS) in valid or tags.get("variant") in waiting
            if tags.get(CURRENT) == "true" and not is_valid:
                client.set_model_version_tag(study, version.version, CURRENT, "false")


def studies(client: MlflowClient) -> list[str]:
    """The names of all registered models that are studies."""
    found: list[RegisteredModel] = []
    token: str | None = None
    while True:
        page = client.search_registered_models(max_results=PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return [model.name for model in found if STUDY in model.tags]


def successor(
    holder: str | None,
    baseline: str,
    means: Mapping[str, float],
    pairs: Sequence[Mapping[str, Any]],
) -> tuple[str | None, str]:
    """The variant that the alias belongs to by rules 2 to 4, and why; pure.

    Args:
        holder: the champion's variant, None where there is no champion.
        baseline: of the study.
        means: mean accuracy of every variant that has a version of its present results.
        pairs: of the study's comparisons.
    """
    why = "new results of the champion's variant"
    if holder is None:
        holder, why = baseline, "the study's baseline, for want of a champion"
    passed = {holder}
    while better := _called_better(holder, pairs).keys() & means.keys() - passed:
        winner = max(sorted(better), key=lambda name: means[name])
        holder, why = winner, _called_better(holder, pairs)[winner]
        passed.add(holder)
    return holder, why


def promote(client: MlflowClient, study: str, variant: str, who: str, why: str) -> str:
    """Give the alias by hand to the present results of a variant; says so in one line.

    Raises:
        TrackingError: there is no version of them, or its origin is not clean.
    """
    versions = _versions(client, study) if _model(client, study) else []
    current = [version for version in versions if version.tags.get(CURRENT) == "true"]
    targets = [version for version in current if version.tags.get("variant") == variant]
    if not targets:
        there = ", ".join(version.tags["variant"] for version in current) or "none"
        raise TrackingError(
            f"registered model {study} has no version of present results of '{variant}' (there "
            f"are: {there}); `dvc repro` makes results and `foldwise track` registers them. An "
            f"older version can be given the alias '{CHAMPION}' in the MLflow UI"
        )
    target = targets[-1]
    if obstacle := unclean(target.tags):
        raise TrackingError(f"{study}, version {target.version} ({variant}): {obstacle}")
    _crown(client, study, str(target.version), f"{who}, by hand", why)
    _close(client, study)
    return f"{study}: version {target.version} ({variant}) is {CHAMPION}"


def unclean(origin: Mapping[str, str]) -> str:
    """Why results of this origin do not become champion, with the remedy; "" where they may.

    Args:
        origin: tags of a version, or the context of a `track`.
    """
    if experiment := origin.get("experiment"):
        return (
            f"it is of the DVC experiment {experiment}; `dvc exp apply {experiment}`, commit and "
            "`foldwise track`"
        )
    if origin.get("dirty") == "true":
        return "tracked with uncommitted changes; commit them and `foldwise track`"
    return ""


# --- helpers ----------------------------------------------------------------------------------


def _called_better(name: str, pairs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The variants that the comparison calls better than one, each with its sentence."""
    better = {}
    for pair in pairs:
        a, b, verdict = pair["a"], pair["b"], pair.get("verdict")
        if (a, verdict) == (name, "Helps"):
            better[str(b)] = str(pair["sentence"])
        if (b, verdict) == (name, "Hurts"):
            better[str(a)] = str(pair["sentence"])
    return better


def _crown(client: MlflowClient, study: str, number: str, by: str, why: str) -> None:
    """Move the alias; the tags come first, so that an alias never lacks its reason."""
    version = client.get_model_version(study, number)
    for key, value in ((BY, by), (SINCE, _now()), (WHY, why)):
        client.set_model_version_tag(study, number, key, value)
    if UNTIL in version.tags:
        client.delete_model_version_tag(study, number, UNTIL)
    client.set_registered_model_alias(study, CHAMPION, number)


def _close(client: MlflowClient, study: str) -> None:
    """Write down when those that were champion ceased to be."""
    champion = _champion(client, study)
    for version in _versions(client, study):
        holds = champion is not None and _number(version) == _number(champion)
        if SINCE in version.tags and UNTIL not in version.tags and not holds:
            client.set_model_version_tag(study, str(version.version), UNTIL, _now())


def _champion(client: MlflowClient, study: str) -> ModelVersion | None:
    number = client.get_registered_model(study).aliases.get(CHAMPION)
    return None if number is None else client.get_model_version(study, str(number))


def _model(client: MlflowClient, study: str) -> RegisteredModel | None:
    with store.tolerating("RESOURCE_DOES_NOT_EXIST"):
        return client.get_registered_model(study)
    return None


def _versions(client: MlflowClient, study: str) -> list[ModelVersion]:
    """All versions, the oldest first."""
    found: list[ModelVersion] = []
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name = '{study}'", PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return sorted(found, key=_number)


def _of(versions: Iterable[ModelVersion], run: VariantRun) -> list[ModelVersion]:
    return [version for version in versions if version.tags.get(OUTPUTS) == run.outputs]


def _number(version: ModelVersion) -> int:
    return int(version.version)


def _origin(run: VariantRun) -> dict[str, str]:
    return {key: run.context[key] for key in ORIGIN if key in run.context}


def _model_description(run: VariantRun) -> str:
    """Markdown: data set, edition, classes, protocol."""
    data = run.dataset
    classes = ", ".join(data["class_names"])
    parts = (
        run.warning(),
        f"Data `{data['name']}` (edition {data['edition']}), classes: {classes}.",
        run.protocol(),
        "A version is one variant's network, trained on all rows; its scores are those of the "
        f"networks of the folds. `{CHAMPION}` is the one to use; its tags say since when and why.",
    )
    return "\n\n".join(part for part in parts if part)[:LONGEST]


def _version_description(run: VariantRun) -> str:
    return f"`{run.name}`, trained on all rows.\n\n{run.parent.note}"[:LONGEST]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
