"""The model registry: one registered model per study, one version per result of a variant.

A version is the refit model of the results that its tag `foldwise.outputs` names. Who holds the
alias `champion` is decided each time that results are tracked:

1. Only results of a clean commit count, tracked in the project itself: not from a working tree
   with uncommitted changes, not by an experiment, not of another commit.
2. Without a holder, the study's baseline becomes champion.
3. When the champion's variant has new results, the alias follows to their version.
4. A variant that comparisons/<study>.json calls better than the champion's takes the alias (it
   *Helps* against that one, or that one *Hurts* against it); of several, the one with the best
   mean of the study's primary metric. Again from there, until none is called better.
5. In any other case, and where it was given by hand, it stays where it is.

Given by hand means by `foldwise promote` or in the MLflow UI: the holder then has no tag
`champion_by: track`, or has a tag `champion_until`.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from foldwise.core.config import Config
from foldwise.core.environment import Environment
from foldwise.core.errors import TrackingError
from foldwise.metrics import METRICS
from foldwise.results.comparisons import Comparison, Pair
from foldwise.tracking import origin, place, store
from foldwise.tracking.mirror import REFIT_NAME
from foldwise.tracking.place import CHAMPION
from foldwise.tracking.records import CREATED, CURRENT, OUTPUTS, FolderSource, text
from foldwise.tracking.store import PassingError
from foldwise.tracking.summary import Summary
from foldwise.wording import notes

STUDY = "foldwise.study"  # tag of a registered model that is a study's
BY, SINCE, UNTIL, WHY = "champion_by", "champion_since", "champion_until", "champion_why"
TRACK = "track"  # value of BY where nobody gave it by hand
ORIGIN = ("git_commit", "dirty", "experiment", "baseline_rev")
LONGEST = 5000  # characters of a description that every database takes
PAGE = 1000


@dataclass(frozen=True)
class Succession:
    """Whom the alias belongs to, and why: `pair` calls it better than the one before.

    Without a pair it is the baseline, as there is no champion (`first`), or the champion's own
    variant.
    """

    variant: str
    pair: Pair | None = None
    first: bool = False

    def why(self, comparison: Comparison | None, short: bool = False) -> str:
        """The reason in words; in short without all that a verdict rests on."""
        if self.pair is not None and comparison is not None:
            say = notes.better_in_short if short else notes.better
            return say(self.pair, comparison)
        return notes.FIRST if self.first else notes.FOLLOWS


@dataclass
class Registered:
    """Keeps the registered model of one study.

    Attributes:
        client: of the store.
        experiment: id of the study's experiment.
        sources: of the study's variants, mirrored already; one at least.
        baseline: of the study; "" where it is not declared any more.
        summary: gains what is done here.
    """

    client: MlflowClient
    experiment: str
    sources: Sequence[FolderSource]
    baseline: str
    summary: Summary

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

    # --- versions -----------------------------------------------------------------------------

    def _refit(self, source: FolderSource) -> Run | None:
        """The run of the network that was trained on all rows; none of a variant that failed."""
        condition = f"tags.`{OUTPUTS}` = '{source.outputs}' AND tags.split = '{REFIT_NAME}'"
        finished = f"{condition} AND attributes.status = 'FINISHED'"
        runs = self.client.search_runs([self.experiment], finished)
        return min(runs, key=lambda run: int(run.data.tags.get(CREATED, 0)), default=None)

    def _describe(self, sources: Sequence[FolderSource]) -> None:
        """Make the registered model where there is none, and keep its description true."""
        source = next((each for each in sources if each.name == self.baseline), sources[0])
        description = notes.model(source.manifest, CHAMPION)[:LONGEST]
        model = _model(self.client, self.name)
        if model is None:
            with store.tolerating("RESOURCE_ALREADY_EXISTS"):  # another `track` was faster
                self.client.create_registered_model(self.name, {STUDY: self.name}, description)
            return
        if STUDY not in model.tags:
            self.client.set_registered_model_tag(self.name, STUDY, self.name)
        if source.current and model.description != description:
            self.client.update_registered_model(self.name, description)

    def _version(
        self, source: FolderSource, refit: Run, versions: Sequence[ModelVersion]
    ) -> ModelVersion:
        """The one version of a variant's results, made where there is none."""
        same = _of(versions, source)
        if not any(version.run_id == refit.info.run_id for version in same):
            self._create(source, refit)
            same = _of(_versions(self.client, self.name), source)
        kept = next((version for version in same if version.run_id == refit.info.run_id), None)
        if kept is None:
            raise PassingError(
                f"registered model {self.name}: another `track` replaced a version of "
                f"'{source.name}' at the same time; {place.SAFE}"
            )
        for other in same:
            if other is not kept:
                self._replace(other, kept)
        if source.current:
            self._revise(source, kept)
        return kept

    def _create(self, source: FolderSource, refit: Run) -> None:
        outputs = self.client.get_run(refit.info.run_id).outputs
        assert outputs is not None  # a run is finished after its model
        model = self.client.get_logged_model(outputs.model_outputs[0].model_id)
        tags = {
            "variant": source.name,
            "dataset": source.dataset.name,
            "edition": source.dataset.edition,
            "synthetic": text(source.dataset.synthetic),
            OUTPUTS: source.outputs,
            CURRENT: text(source.current),
            **_origin(source),
            **self._revisable(source),
        }
        version = self.client.create_model_version(
            self.name,
            model.artifact_location,
            refit.info.run_id,
            tags,
            description=_description(source),
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

    def _revise(self, source: FolderSource, version: ModelVersion) -> None:
        """Bring up to date what may change: scores, verdict, currency, and an unclean origin."""
        wanted, cleaner = {CURRENT: "true", **self._revisable(source)}, _origin(source)
        if unclean(version.tags) and "dirty" in cleaner and not unclean(cleaner):
            wanted |= cleaner
            for key in set(ORIGIN) & set(version.tags) - set(cleaner):
                self.client.delete_model_version_tag(self.name, version.version, key)
        for key, value in wanted.items():
            if version.tags.get(key) != value:
                self.client.set_model_version_tag(self.name, version.version, key, value)
        description = _description(source)
        if version.description != description:
            self.client.update_model_version(self.name, version.version, description)

    def _revisable(self, source: FolderSource) -> dict[str, str]:
        """Tags with the primary metric, its spread, and what the comparison says."""
        tags = {"verdict": self._verdict(source)}
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
        pairs = source.comparison.pairs if source.comparison else []
        for pair in pairs:
            if (pair.a, pair.b) == (self.baseline, source.name):
                return pair.verdict if isinstance(pair, Pair) else "refused"
        return "not compared"

    # --- champion -----------------------------------------------------------------------------

    def _decide(self, held: Mapping[str, ModelVersion]) -> None:
        """Move the alias by the rule at the top of this module.

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
        if target is not None and (champion is None or champion.version != target.version):
            self._move(champion, target, succession, comparison)
        _close(self.client, self.name)

    def _move(
        self,
        champion: ModelVersion | None,
        target: ModelVersion,
        succession: Succession,
        comparison: Comparison | None,
    ) -> None:
        """Give the alias to another version, unless something stands against it."""
        short = succession.why(comparison, short=True)
        version = f"{self.name}: version {target.version} ({succession.variant})"
        if obstacle := self._obstacle(champion):
            self.summary.notes.append(f"{version} does not become champion ({short}): {obstacle}")
        else:
            why = succession.why(comparison)
            _crown(self.client, self.name, str(target.version), TRACK, why)
            self.summary.notes.append(f"{version} is champion: {short}")

    def _obstacle(self, champion: ModelVersion | None) -> str:
        """Why the alias must not move; "" where it may."""
        if champion and (champion.tags.get(BY) != TRACK or UNTIL in champion.tags):
            return (
                f"version {champion.version} was made champion by hand; `foldwise promote` moves it"
            )
        return unclean(self.sources[0].origin.tags)


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
    models = store.pages(
        lambda token: client.search_registered_models(max_results=PAGE, page_token=token)
    )
    return [model.name for model in models if STUDY in model.tags]


def successor(
    holder: str | None, baseline: str, merits: Mapping[str, float], pairs: Sequence[Pair]
) -> Succession:
    """Whom the alias belongs to by rules 2 to 4; pure.

    Args:
        holder: the champion's variant, None where there is no champion.
        baseline: of the study.
        merits: of every variant that has a version of its present results, more being better.
        pairs: of the study's comparisons.
    """
    now = Succession(baseline, first=True) if holder is None else Succession(holder)
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

    Args:
        config: knows the variant's study.
        root: the project's root.
        environment: where the store is.
        variant: its name.
        study: where the variant is not declared any more.
        why: kept as a tag of the version.

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
    there = ", ".join(version.tags["variant"] for version in current) or "none"
    raise TrackingError(
        f"registered model {study} has no version of present results of '{variant}' (there "
        f"are: {there}); `dvc repro` makes results and `foldwise track` registers them. An "
        f"older version can be given the alias '{CHAMPION}' in the MLflow UI"
    )


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
    found = store.pages(
        lambda token: client.search_model_versions(f"name = '{study}'", PAGE, page_token=token)
    )
    return sorted(found, key=_number)


def _of(versions: Iterable[ModelVersion], source: FolderSource) -> list[ModelVersion]:
    return [version for version in versions if version.tags.get(OUTPUTS) == source.outputs]


def _number(version: ModelVersion) -> int:
    return int(version.version)


def _origin(source: FolderSource) -> dict[str, str]:
    tags = source.origin.tags
    return {key: tags[key] for key in ORIGIN if key in tags}


def _description(source: FolderSource) -> str:
    return notes.version(source.name, source.parent.note)[:LONGEST]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
