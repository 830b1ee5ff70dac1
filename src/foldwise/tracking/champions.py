"""The model registry: one registered model per study, one version per result of a variant.

A version is the refit model of the results that its tag `foldwise.outputs` names. Whenever results
are tracked, it is decided who holds the alias `champion`; docs/serving.md has the rules.
"""

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from foldwise.core.config import Config
from foldwise.core.environment import Environment
from foldwise.core.errors import TrackingError
from foldwise.metrics import METRICS
from foldwise.results.comparisons import Pair
from foldwise.tracking import origin, place, store
from foldwise.tracking.experiments import created
from foldwise.tracking.mirror import REFIT_NAME
from foldwise.tracking.origin import UNKNOWN
from foldwise.tracking.place import CHAMPION
from foldwise.tracking.records import CURRENT, OUTPUTS, FolderSource, text
from foldwise.tracking.store import PassingError
from foldwise.tracking.summary import Summary
from foldwise.wording import notes

STUDY = "foldwise.study"  # tag of a registered model that is a study's
BY, SINCE, UNTIL, WHY = "champion_by", "champion_since", "champion_until", "champion_why"
TRACK = "track"  # value of BY where nobody gave it by hand
ORIGIN = ("git_commit", "dirty", "experiment", "baseline_rev")
LONGEST = 5000  # characters of a description that every database takes
PAGE = 1000


@dataclass
class Registered:
    """Keeps the registered model of one study."""

    client: MlflowClient
    experiment: str  # id of the study's
    sources: Sequence[FolderSource]  # of the study's variants, mirrored already; one at least
    baseline: str  # of the study; "" where it is not declared any more
    summary: Summary  # gains what is done here

    @property
    def name(self) -> str:
        """The study, which is the model's name."""
        return self.sources[0].study

    def sync(self) -> None:
        """Register what is not registered yet, revise what is, and see to the champion."""
        refits = [(source, self._refit(source)) for source in self.sources]
        complete = [(source, refit) for source, refit in refits if refit is not None]
        if not complete:
            return
        self._describe([source for source, _ in complete])
        versions = _versions(self.client, self.name)
        held = {source.name: self._version(source, refit, versions) for source, refit in complete}
        if self.sources[0].current:
            self._decide(held)
            _close(self.client, self.name)

    # --- versions -----------------------------------------------------------------------------

    def _refit(self, source: FolderSource) -> Run | None:
        """The run of the network that was trained on all rows; none of a variant that failed."""
        condition = f"tags.`{OUTPUTS}` = '{source.outputs}' AND tags.split = '{REFIT_NAME}'"
        finished = f"{condition} AND attributes.status = 'FINISHED'"
        return min(self.client.search_runs([self.experiment], finished), key=created, default=None)

    def _describe(self, sources: Sequence[FolderSource]) -> None:
        """Make the registered model where there is none, and keep its description true."""
        source = next((each for each in sources if each.name == self.baseline), sources[0])
        description = notes.model(source.manifest, CHAMPION)[:LONGEST]
        model = _model(self.client, self.name)
        others = [] if model else [m for m in _models(self.client) if m.tags[STUDY] == self.name]
        if others:  # programs ask for it by its name
            self.client.rename_registered_model(others[0].name, self.name)
            self.summary.notes.append(f"{others[0].name}: is called {self.name} again")
            model = _model(self.client, self.name)
        if model is None:
            with store.tolerating("RESOURCE_ALREADY_EXISTS"):  # another `track` was faster
                self.client.create_registered_model(self.name, {STUDY: self.name}, description)
            return
        if model.tags.get(STUDY) != self.name:
            self.client.set_registered_model_tag(self.name, STUDY, self.name)
        if source.current and model.description != description:
            self.client.update_registered_model(self.name, description)

    def _version(
        self, source: FolderSource, refit: Run, versions: Sequence[ModelVersion]
    ) -> ModelVersion:
        """The one version of a variant's results, made where there is none."""
        run_id = refit.info.run_id
        if not any(version.run_id == run_id for version in versions):
            self._create(source, run_id)
            versions = _versions(self.client, self.name)
        kept = next((version for version in versions if version.run_id == run_id), None)
        if kept is None:
            raise PassingError(
                f"registered model {self.name}: another `track` replaced a version of "
                f"'{source.name}' at the same time; {place.SAFE}"
            )
        for other in versions:
            if other is not kept and other.tags.get(OUTPUTS) == source.outputs:
                self._replace(other, kept)
        if source.current:
            self._revise(source, kept)
        return kept

    def _create(self, source: FolderSource, run_id: str) -> None:
        outputs = self.client.get_run(run_id).outputs
        assert outputs is not None  # a run is finished after its model
        model = self.client.get_logged_model(outputs.model_outputs[0].model_id)
        version = self.client.create_model_version(
            self.name,
            model.artifact_location,
            run_id,
            self._tags(source) | _origin(source),
            description=_description(source),
            model_id=model.model_id,
        )
        link = json.dumps([{"name": self.name, "version": version.version}])
        self.client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: link})
        self.summary.registered += 1

    def _replace(self, old: ModelVersion, new: ModelVersion) -> None:
        """Delete a version whose run is gone, or that came twice; its aliases go to the other."""
        for key in {BY, SINCE, UNTIL, WHY} & old.tags.keys():
            self.client.set_model_version_tag(self.name, new.version, key, old.tags[key])
        for alias, number in self.client.get_registered_model(self.name).aliases.items():
            if int(number) == int(old.version):
                self.client.set_registered_model_alias(self.name, alias, new.version)
        with store.tolerating("RESOURCE_DOES_NOT_EXIST"):  # another `track` was faster
            self.client.delete_model_version(self.name, old.version)

    def _revise(self, source: FolderSource, version: ModelVersion) -> None:
        """Bring up to date what may change: scores, verdict, currency, and an unclean origin."""
        wanted, cleaner = self._tags(source), _origin(source)
        if unclean(version.tags) and "dirty" in cleaner and not unclean(cleaner):
            wanted |= cleaner
            for key in set(ORIGIN) & version.tags.keys() - cleaner.keys():
                self.client.delete_model_version_tag(self.name, version.version, key)
        for key, value in wanted.items():
            if version.tags.get(key) != value:
                self.client.set_model_version_tag(self.name, version.version, key, value)
        description = _description(source)
        if version.description != description:
            self.client.update_model_version(self.name, version.version, description)

    def _tags(self, source: FolderSource) -> dict[str, str]:
        """What it is, the primary metric with its spread, and what the comparison says."""
        data = source.dataset
        tags = {
            "variant": source.name,
            "dataset": data.name,
            "edition": data.edition,
            "synthetic": text(data.synthetic),
            OUTPUTS: source.outputs,
            CURRENT: text(source.current),
            "verdict": self._verdict(source),
        }
        if source.evaluation is None:
            return tags
        metrics = source.evaluation.metrics
        name, score = metrics.metric, metrics.primary
        tags |= {name: f"{score.mean:g}", f"{name}_sd": f"{score.sd_over_splits:g}"}
        tags |= {"splits": f"{metrics.splits:g}"}
        if metrics.test:
            tags["test_accuracy"] = f"{metrics.test.refit_accuracy:g}"
        return tags

    def _verdict(self, source: FolderSource) -> str:
        """What the comparison says of a variant against the baseline."""
        if source.name == self.baseline:
            return "baseline"
        for pair in source.comparison.pairs if source.comparison else ():
            if (pair.a, pair.b) == (self.baseline, source.name):
                return pair.verdict if isinstance(pair, Pair) else "refused"
        return "not compared"

    # --- champion -----------------------------------------------------------------------------

    def _decide(self, held: Mapping[str, ModelVersion]) -> None:
        """Give the alias to whom it belongs, unless something stands against it.

        Args:
            held: the version of each variant's present results.
        """
        champion = _champion(self.client, self.name)
        merits = {source.name: _merit(source) for source in self.sources if source.name in held}
        comparison = self.sources[0].comparison
        holder = champion.tags.get("variant") if champion else None
        pairs = comparison.made if comparison else []
        succession = successor(holder, self.baseline, merits, pairs)
        target = held.get(succession.variant)
        if target is None or (champion and champion.version == target.version):
            return
        if champion and holder is None:  # somebody's own model
            return
        why = short = notes.FIRST if holder is None else notes.FOLLOWS
        if succession.pair and comparison:
            why = notes.better(succession.pair, comparison)
            short = notes.better_in_short(succession.pair, comparison)
        version = f"{self.name}: version {target.version} ({succession.variant})"
        revised = self.client.get_model_version(self.name, target.version)
        obstacle = unclean(revised.tags) or _undecided(self.sources[0].origin.tags)
        if champion and (champion.tags.get(BY) != TRACK or UNTIL in champion.tags):
            obstacle = (
                f"version {champion.version} was made champion by hand; `foldwise promote` moves it"
            )
        if obstacle:
            self.summary.notes.append(f"{version} does not become champion ({short}): {obstacle}")
        else:
            _crown(self.client, self.name, str(target.version), TRACK, why)
            self.summary.notes.append(f"{version} is champion: {short}")


def supersede(
    client: MlflowClient, studies: Iterable[str], valid: Collection[str], waiting: Collection[str]
) -> None:
    """Mark versions of results that the project no longer has; see `experiments.supersede`."""
    for study in studies:
        for version in _versions(client, study):
            tags = version.tags
            stays = tags.get(OUTPUTS) in valid or tags.get("variant") in waiting
            if tags.get(CURRENT) == "true" and not stays:
                client.set_model_version_tag(study, version.version, CURRENT, "false")


def studies(client: MlflowClient) -> list[str]:
    """The names of all registered models that are studies."""
    return [model.name for model in _models(client)]


class Succession(NamedTuple):
    """Whom the alias belongs to; `pair` calls it better than the one before, if that is why."""

    variant: str
    pair: Pair | None = None


def successor(
    holder: str | None, baseline: str, merits: Mapping[str, float], pairs: Sequence[Pair]
) -> Succession:
    """Whom the alias belongs to; pure.

    Args:
        holder: the champion's variant, None where there is no champion.
        baseline: of the study.
        merits: by variant with a version of its present results, more being better.
        pairs: of the study's comparisons.
    """
    now = Succession(baseline if holder is None else holder)
    passed = {now.variant}
    while better := _called_better(now.variant, pairs).keys() & merits.keys() - passed:
        winner = max(sorted(better), key=lambda name: merits[name])
        now = Succession(winner, _called_better(now.variant, pairs)[winner])
        passed.add(winner)
    return now


def promote(
    config: Config,
    root: Path,
    environment: Environment,
    variant: str,
    study: str | None = None,
    why: str = "",
) -> str:
    """Make the present results of a variant its study's champion by hand; says so in one line.

    `study` is for a variant that is not declared any more; `why` becomes a tag of the version.

    Raises:
        ConfigError: no such variant is declared.
        TrackingError: the store cannot be used, has no version of the variant's present
            results, or that version was tracked with uncommitted changes or by an experiment.
    """
    study = study or config.variant(variant).study
    with store.opened(place.store_uri(root, environment), environment) as opened:
        version = _present(opened.client, study, variant)
        if obstacle := unclean(version.tags):
            raise TrackingError(f"{study}, version {version.version} ({variant}): {obstacle}")
        _crown(opened.client, study, str(version.version), f"{origin.user()}, by hand", why)
        _close(opened.client, study)
    return f"{study}: version {version.version} ({variant}) is {CHAMPION}"


def _present(client: MlflowClient, study: str, variant: str) -> ModelVersion:
    """The version of a variant's present results."""
    versions = _versions(client, study) if _model(client, study) else []
    current = [version for version in versions if version.tags.get(CURRENT) == "true"]
    targets = [version for version in current if version.tags.get("variant") == variant]
    if targets:
        return targets[-1]
    there = ", ".join(version.tags.get("variant", "?") for version in current) or "none"
    raise TrackingError(
        f"registered model {study} has no version of present results of '{variant}' (there "
        f"are: {there}); `dvc repro` makes results and `foldwise track` registers them. An "
        f"older version can be given the alias '{CHAMPION}' in the MLflow UI"
    )


def unclean(origin: Mapping[str, str]) -> str:
    """Why a version with these tags does not become champion, and the remedy; "" where it may."""
    if experiment := origin.get("experiment"):
        return (
            f"it is of the DVC experiment {experiment}; `dvc exp apply {experiment}`, commit and "
            "`foldwise track`"
        )
    if origin.get("dirty") == "true":
        return "tracked with uncommitted changes; commit them and `foldwise track`"
    if origin.get("dirty") == UNKNOWN:
        return (
            "tracked while git could not say whether there were uncommitted changes; see to it "
            "that `git status` works here, then `foldwise track`"
        )
    return ""


def _undecided(context: Mapping[str, str]) -> str:
    """Why this `track` must not decide who is champion; "" where it may."""
    if experiment := context.get("experiment"):
        return f"`foldwise track` outside of the DVC experiment {experiment} decides"
    if unclean(context):
        return "`foldwise track` without uncommitted changes decides"
    return ""


# --- helpers ----------------------------------------------------------------------------------


def _called_better(name: str, pairs: Iterable[Pair]) -> dict[str, Pair]:
    """The variants that the comparison calls better than one, each with the pair that does."""
    better = {}
    for pair in pairs:
        if (pair.a, pair.verdict) == (name, "Helps"):
            better[pair.b] = pair
        if (pair.b, pair.verdict) == (name, "Hurts"):
            better[pair.a] = pair
    return better


def _merit(source: FolderSource) -> float:
    """The mean of the study's primary metric, signed so that more is better."""
    metrics = source.evaluation.metrics if source.evaluation else None
    if metrics is None or not metrics.complete:
        return -math.inf
    return METRICS[metrics.metric].direction * metrics.primary.mean


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
        holds = champion is not None and int(version.version) == int(champion.version)
        if SINCE in version.tags and UNTIL not in version.tags and not holds:
            client.set_model_version_tag(study, str(version.version), UNTIL, _now())


def _champion(client: MlflowClient, study: str) -> ModelVersion | None:
    number = client.get_registered_model(study).aliases.get(CHAMPION)
    return None if number is None else client.get_model_version(study, str(number))


def _models(client: MlflowClient) -> list[RegisteredModel]:
    """All that are studies."""
    models = store.pages(
        lambda token: client.search_registered_models(max_results=PAGE, page_token=token)
    )
    return [model for model in models if STUDY in model.tags]


def _model(client: MlflowClient, study: str) -> RegisteredModel | None:
    with store.tolerating("RESOURCE_DOES_NOT_EXIST"):
        return client.get_registered_model(study)
    return None


def _versions(client: MlflowClient, study: str) -> list[ModelVersion]:
    """All versions, the oldest first."""
    found = store.pages(
        lambda token: client.search_model_versions(f"name = '{study}'", PAGE, page_token=token)
    )
    return sorted(found, key=lambda version: int(version.version))


def _origin(source: FolderSource) -> dict[str, str]:
    return {key: value for key, value in source.origin.tags.items() if key in ORIGIN}


def _description(source: FolderSource) -> str:
    return notes.version(source.name, source.parent.note)[:LONGEST]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
