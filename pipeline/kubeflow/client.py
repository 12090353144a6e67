"""The requests of this project to Kubeflow Pipelines, sent by kfp.Client."""

import contextlib
import datetime
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp
import kfp_server_api
from kfp.client import ServiceAccountTokenVolumeCredentials

from pipeline.kubeflow.errors import ConflictError, NotFoundError, UsageError
from pipeline.kubeflow.package import Package, write_uncached
from pipeline.kubeflow.settings import Kubeflow, Schedule
from pipeline.kubeflow.transport import RestClient, request_errors

_PAGE_SIZE = 100
_PIPELINE_ROOT = "pipeline_root"
_NEWEST_FIRST = "created_at desc"


@dataclass(frozen=True)
class Version:
    """A version of a pipeline on the server."""

    pipeline_id: str
    version_id: str


class _Client(kfp.Client):
    """kfp's client without its file of defaults, and whose constructor sends no request."""

    def _load_context_setting_or_default(self) -> None:
        """Sets no defaults: kfp's file may contain the cookie of another host."""
        self._context_setting = {"namespace": ""}

    def get_kfp_healthz(self, sleep_duration: int = 0) -> kfp_server_api.V2beta1GetHealthzResponse:
        """Returns a constant: every call has a namespace, so the default is not requested."""
        return kfp_server_api.V2beta1GetHealthzResponse(multi_user=False)

    def set_transport(self, rest: RestClient) -> None:
        """Sends all further requests with another transport."""
        self._healthz_api.api_client.rest_client = rest


class Api:
    """A Kubeflow Pipelines server, in the namespace of the settings.

    Every method raises KubeflowError, or one of its subclasses, if the request fails.
    """

    def __init__(self, client: kfp.Client, rest: RestClient) -> None:
        self._client = client
        self._rest = rest
        self._section = rest.section

    @property
    def section(self) -> Kubeflow:
        """The section `kubeflow` of the settings."""
        return self._section

    def pipeline_root(self, arguments: Mapping[str, Any]) -> str:
        """The pipeline root of a run: from its arguments, or else from the settings."""
        return str(arguments.get(_PIPELINE_ROOT, self._section.pipeline_root))

    def experiment_id(self) -> str:
        """The id of the experiment in the settings, which is created if it does not exist."""
        name, namespace = self._section.experiment, self._section.namespace
        with self._request(f"get or create experiment {name!r}"):
            return self._client.create_experiment(name, namespace=namespace).experiment_id

    def find_experiment_id(self) -> str | None:
        """The id of the experiment in the settings; None if it does not exist."""
        name, namespace = self._section.experiment, self._section.namespace
        with self._request(f"find experiment {name!r}"):
            found = self._client.list_experiments(
                namespace=namespace, filter=_filter(display_name=name)
            ).experiments
        return found[0].experiment_id if found else None

    def ensure_version(self, package: Package) -> tuple[Version, bool]:
        """Uploads a package as a version of its pipeline, unless the server has it.

        Returns:
          The version, and whether it was uploaded.
        """
        pipeline_id = self._pipeline_id(package.name) or self._create_pipeline(package.name)
        found = self._find_version(pipeline_id, package)
        if found is not None:
            return found, False
        try:
            return self._upload(pipeline_id, package), True
        except ConflictError:
            # Another client has uploaded the same package in the meantime.
            found = self._find_version(pipeline_id, package)
            if found is None:
                raise
            return found, False

    def start_run(
        self,
        name: str,
        experiment_id: str,
        arguments: Mapping[str, Any],
        *,
        version: Version | None = None,
        package: Path | None = None,
    ) -> Any:
        """Starts a run of a version, or of a package; a run of a package is not cached."""
        with _uncached(package) as file, self._request(f"start run {name!r}"):
            return self._client.run_pipeline(
                experiment_id,
                name,
                pipeline_package_path=None if file is None else str(file),
                params=dict(arguments),
                pipeline_id=version and version.pipeline_id,
                version_id=version and version.version_id,
                pipeline_root=self.pipeline_root(arguments),
                enable_caching=None if package is None else False,
                service_account=self._section.service_account,
            )

    def run(self, run_id: str) -> Any:
        """A run by its id, a V2beta1Run."""
        with self._request(f"get run {run_id!r}"):
            return self._client.get_run(run_id)

    def runs(self, experiment_id: str) -> Iterator[Any]:
        """The runs of an experiment, newest first."""
        return self._runs("list runs", experiment_id=experiment_id)

    def runs_of_schedule(self, schedule_id: str) -> Iterator[Any]:
        """The runs that a schedule started, newest first."""
        listed = self._runs(
            f"list runs of schedule {schedule_id}",
            namespace=self._section.namespace,
            filter=_filter(recurring_run_id=schedule_id),
        )
        return (run for run in listed if run.recurring_run_id == schedule_id)

    def schedules(self, experiment_id: str, name: str | None = None) -> list[Any]:
        """The recurring runs of an experiment, newest first; only those of `name` if given."""
        by_name = None if name is None else _filter(display_name=name)
        return list(
            self._pages(
                "list schedules",
                "recurring_runs",
                lambda token: self._client.list_recurring_runs(
                    page_token=token,
                    page_size=_PAGE_SIZE,
                    sort_by=_NEWEST_FIRST,
                    experiment_id=experiment_id,
                    filter=by_name,
                ),
            )
        )

    def schedule(self, schedule_id: str) -> Any:
        """A recurring run by its id, a V2beta1RecurringRun."""
        with self._request(f"get schedule {schedule_id}"):
            return self._client.get_recurring_run(schedule_id)

    def create_schedule(
        self,
        name: str,
        experiment_id: str,
        schedule: Schedule,
        version: Version,
        arguments: Mapping[str, Any],
    ) -> Any:
        """Creates a recurring run of a version, a V2beta1RecurringRun."""
        with self._request(f"create schedule {name!r}"):
            return self._client.create_recurring_run(
                experiment_id,
                name,
                cron_expression=schedule.cron,
                max_concurrency=schedule.max_concurrency,
                no_catchup=not schedule.catchup,
                params=dict(arguments),
                pipeline_id=version.pipeline_id,
                version_id=version.version_id,
                enabled=schedule.enabled,
                pipeline_root=self.pipeline_root(arguments),
                service_account=self._section.service_account,
            )

    def enable(self, schedule_id: str) -> None:
        """Enables a schedule."""
        with self._request(f"enable schedule {schedule_id}"):
            self._client.enable_recurring_run(schedule_id)

    def disable(self, schedule_id: str) -> None:
        """Disables a schedule; active runs continue."""
        with self._request(f"pause schedule {schedule_id}"):
            self._client.disable_recurring_run(schedule_id)

    def delete(self, schedule_id: str) -> None:
        """Deletes a schedule, which terminates its active runs; does nothing if it is deleted."""
        try:
            with self._request(f"delete schedule {schedule_id}"):
                self._client.delete_recurring_run(schedule_id)
        except NotFoundError:
            return

    def _request(self, action: str) -> Any:
        return request_errors(self._rest, action)

    def _pages(self, action: str, items: str, fetch: Callable[[str], Any]) -> Iterator[Any]:
        token = ""
        while True:
            with self._request(action):
                page = fetch(token)
            yield from getattr(page, items) or ()
            token = page.next_page_token or ""
            if not token:
                return

    def _runs(self, action: str, **selection: str) -> Iterator[Any]:
        return self._pages(
            action,
            "runs",
            lambda token: self._client.list_runs(
                page_token=token, page_size=_PAGE_SIZE, sort_by=_NEWEST_FIRST, **selection
            ),
        )

    def _pipeline_id(self, name: str) -> str | None:
        with self._request(f"find pipeline {name!r}"):
            found = self._client.list_pipelines(
                namespace=self._section.namespace, filter=_filter(display_name=name)
            ).pipelines
        return found[0].pipeline_id if found else None

    def _create_pipeline(self, name: str) -> str:
        # Not with kfp's upload_pipeline, which would name the first version after the pipeline.
        pipeline = kfp_server_api.V2beta1Pipeline(
            name=name, display_name=name, namespace=self._section.namespace
        )
        with self._request(f"create pipeline {name!r}"):
            created = self._client.pipelines.pipeline_service_create_pipeline(pipeline)
        return created.pipeline_id

    def _find_version(self, pipeline_id: str, package: Package) -> Version | None:
        name = package.version_name
        with self._request(f"find pipeline version {name!r}"):
            found = self._client.list_pipeline_versions(
                pipeline_id, filter=_filter(display_name=name)
            ).pipeline_versions
        return Version(pipeline_id, found[0].pipeline_version_id) if found else None

    def _upload(self, pipeline_id: str, package: Package) -> Version:
        name = package.version_name
        with self._request(f"upload pipeline version {name!r}"):
            uploaded = self._client.upload_pipeline_version(
                str(package.path), name, pipeline_id=pipeline_id
            )
        return Version(pipeline_id, uploaded.pipeline_version_id)


@contextlib.contextmanager
def _uncached(package: Path | None) -> Iterator[Path | None]:
    """A copy of a package in which the steps within DAGs are not cached; None without one."""
    if package is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / package.name
        write_uncached(package, file)
        yield file


def connect(section: Kubeflow) -> Api:
    """The server named in the settings. No request is sent yet.

    Raises:
      UsageError: no host is set, the token or the variable of a header does not exist, or a proxy
        or certificate is invalid.
    """
    if section.host is None:
        raise UsageError(
            "kubeflow.host is required: the URL of Kubeflow Pipelines, such as --set "
            "kubeflow.host=http://localhost:8080 while `kubectl port-forward -n kubeflow "
            "svc/ml-pipeline-ui 8080:80` runs"
        )
    rest = RestClient(section)
    with warnings.catch_warnings():
        # It would warn in every command that it requires a server of version 2.
        warnings.simplefilter("ignore", FutureWarning)
        client = _Client(host=section.host, namespace=section.namespace, **_credentials(section))
    client.set_transport(rest)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    return Api(client, rest)


def run_name(pipeline: str, now: datetime.datetime) -> str:
    """The name of a run that a user starts: the pipeline's name and the time in UTC."""
    return f"{pipeline}-{now.astimezone(datetime.UTC):%Y%m%dT%H%M%SZ}"


def _credentials(section: Kubeflow) -> dict[str, Any]:
    auth = section.auth
    if auth.kind == "token":
        token = os.environ.get(auth.token_env, "").strip()
        if not token:
            raise UsageError(
                f"kubeflow.auth.kind is token, but the environment variable {auth.token_env} is "
                "not set; set it, or set kubeflow.auth.token_env to another variable"
            )
        return {"existing_token": token}
    if auth.kind == "service_account":
        if not os.access(auth.token_path, os.R_OK):
            raise UsageError(
                f"kubeflow.auth.kind is service_account, but no token can be read from "
                f"{auth.token_path}; mount a projected service account token there, or set "
                "kubeflow.auth.token_path to another file"
            )
        return {"credentials": ServiceAccountTokenVolumeCredentials(auth.token_path)}
    return {}


def _filter(**equals: str) -> str:
    return json.dumps(
        {
            "predicates": [
                {"operation": "EQUALS", "key": key, "stringValue": value}
                for key, value in equals.items()
            ]
        }
    )
