"""Logs versions to MLflow: a run per version, and a version of a registered model.

Imports MLflow's client, which an extra installs, where it is used.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from components.tracking.errors import TrackingError
from components.tracking.facts import CANDIDATE, RETIRED, SERVING, TrackedVersion
from components.tracking.settings import MLflow

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

_PREFIX = "outnumbered."
_KEY = f"{_PREFIX}key"
_STAGE = f"{_PREFIX}stage"
_MOST_PARAMETERS = 100  # that MLflow takes per request
_FINISHED = "FINISHED"


class MLflowSender:
    """Logs versions to one server of MLflow; a version that is there is not logged twice."""

    def __init__(self, settings: MLflow, title: str, timeout: int):
        """Sets the server.

        Args:
          settings: the server, and the names in it.
          title: name of the pipeline, for names that the settings leave open.
          timeout: seconds after which a request has failed.
        """
        self._settings = settings
        self._experiment = settings.experiment or title
        self._model = settings.model or title
        self._timeout = timeout
        self.name = f"MLflow at {settings.uri}"

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Limits requests in time, and opens the client; MLflow itself would retry for minutes."""
        limits = {
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": str(self._timeout),
            # Usage data that MLflow would send to its makers.
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        with _environment(limits):
            from mlflow import MlflowClient

            uri = self._settings.uri
            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            yield

    def register(self, version: TrackedVersion) -> None:
        """Logs a version, or what is missing of it."""
        run = self._run(version)
        if self._model_version(version) is None:
            self._client.create_model_version(
                self._model,
                _source(version.uri),
                run_id=run.info.run_id,
                tags={**_tags(version), _STAGE: CANDIDATE},
                description=version.tags.get("reason"),
                await_creation_for=0,
            )

    def serve(self, version: TrackedVersion) -> None:
        """Moves the alias and the stage to a version that is logged."""
        serving = self._model_version(version)
        if serving is None:
            raise TrackingError(f"version {version.version} is not in its model {self._model}")
        for each in self._versions(f"tags.`{_STAGE}` = '{SERVING}'"):
            if each.version != serving.version:
                self._client.set_model_version_tag(self._model, each.version, _STAGE, RETIRED)
        self._client.set_model_version_tag(self._model, serving.version, _STAGE, SERVING)
        alias = self._settings.alias
        self._client.set_registered_model_alias(self._model, alias, serving.version)

    def _run(self, version: TrackedVersion) -> "Run":
        """Returns the complete run of a version; one that was interrupted is completed."""
        experiment = self._experiment_id()
        found = self._client.search_runs([experiment], f"tags.`{_KEY}` = '{version.key}'")
        run = (
            found[0]
            if found
            else self._client.create_run(
                experiment, tags=_tags(version), run_name=f"{self._model} {version.version}"
            )
        )
        if run.info.status != _FINISHED:
            self._log(run, version)
            self._client.set_terminated(run.info.run_id, _FINISHED)
        return run

    def _log(self, run: "Run", version: TrackedVersion) -> None:
        from mlflow.entities import Metric, Param

        at = run.info.start_time  # so that a repeated metric is the same one
        metrics = [Metric(name, value, at, 0) for name, value in version.metrics.items()]
        self._client.log_batch(run.info.run_id, metrics=metrics)
        names = sorted(version.parameters.keys() - run.data.params.keys())
        for start in range(0, len(names), _MOST_PARAMETERS):
            part = names[start : start + _MOST_PARAMETERS]
            parameters = [Param(name, version.parameters[name]) for name in part]
            self._client.log_batch(run.info.run_id, params=parameters)

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        return found.experiment_id if found else self._client.create_experiment(self._experiment)

    def _model_version(self, version: TrackedVersion) -> "ModelVersion | None":
        return next(iter(self._versions(f"tags.`{_KEY}` = '{version.key}'")), None)

    def _versions(self, condition: str) -> "list[ModelVersion]":
        if not self._client.search_registered_models(f"name = '{self._model}'"):
            self._client.create_registered_model(self._model)
        return list(self._client.search_model_versions(f"name = '{self._model}' and {condition}"))


def _tags(version: TrackedVersion) -> dict[str, str]:
    return {_KEY: version.key, **{f"{_PREFIX}{name}": text for name, text in version.tags.items()}}


def _source(uri: str) -> str:
    # MLflow takes no path as a source, unless it is below its own artifacts.
    return uri if "://" in uri else f"registry:{uri}"


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Sets environment variables, except those that the user has set."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
