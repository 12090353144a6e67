"""The settings section `tracking`: where pushed versions are registered as well."""

import re
from importlib.util import find_spec
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from components.messages import InputError
from components.section import PositiveCount, Section

_PACKAGES = {"mlflow": ("mlflow", "mlflow"), "model_registry": ("mr_openapi", "model-registry")}
"""Module, and extra that installs it, by key of the section."""


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        has_port = parts.port != 0  # a port that is no number raises
    except ValueError as error:
        raise ValueError(f"must be a URL: {error}. Received: {url!r}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not has_port:
        raise ValueError(
            f"must start with http:// or https:// and name a server. Received: {url!r}"
        )
    if parts.username is not None or parts.password is not None:
        # The value is not repeated: it has a password.
        raise ValueError(
            "must not contain a user or password; set them as environment variables, see "
            f"docs/tracking.md. Received: a URL of {parts.hostname} with both or one of them"
        )
    return url.rstrip("/")


def _checked_alias(alias: str) -> str:
    if not re.fullmatch(r"[\w-]+", alias, re.ASCII) or re.fullmatch(r"latest|v\d+", alias.lower()):
        raise ValueError(
            "must consist of letters, digits, _ and -, and must not be 'latest' or a version such "
            f"as v1, as MLflow requires. Received: {alias!r}"
        )
    return alias


def _checked_model(name: str) -> str:
    if not name.strip() or re.search("[/:'\"`]", name):
        raise ValueError(f"must be a name without /, : and quotes. Received: {name!r}")
    return name


Url = Annotated[str, AfterValidator(_checked_url)]
ModelName = Annotated[str, AfterValidator(_checked_model)]
Text = Annotated[str, Field(min_length=1)]


class MLflow(Section):
    """A server of MLflow. Requires the extra mlflow."""

    uri: Url = Field(
        description="Its URL. Credentials: the environment variables MLFLOW_TRACKING_TOKEN, or "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
    )
    experiment: Text | None = Field(
        default=None, description="Experiment of the runs, one per version; null: NAME."
    )
    model: ModelName | None = Field(default=None, description="Registered model; null: NAME.")
    alias: Annotated[str, AfterValidator(_checked_alias)] = Field(
        default="champion", description="Alias of the version that serves."
    )


class ModelRegistry(Section):
    """A server of Kubeflow's Model Registry. Requires the extra model-registry."""

    address: Url = Field(
        description="Its URL with the port. Credentials: the environment variable "
        "MODEL_REGISTRY_TOKEN, or a file that KF_PIPELINES_SA_TOKEN_PATH names."
    )
    model: ModelName | None = Field(default=None, description="Registered model; null: NAME.")
    author: Text = Field(default="outnumbered", description="Author of the versions.")


class Tracking(Section):
    """Where pushed versions are registered as well: metrics, settings, URIs, lineage and stage.

    A server that can't be reached is reported, and the push stands.
    """

    mlflow: MLflow | None = Field(default=None, description="MLflow; null: it is not used.")
    model_registry: ModelRegistry | None = Field(
        default=None, description="Kubeflow's Model Registry; null: it is not used."
    )
    timeout_seconds: PositiveCount = Field(
        default=10, description="Seconds after which a request to either has failed."
    )

    def is_off(self) -> bool:
        """Returns whether nothing is to be tracked."""
        return self.mlflow is None and self.model_registry is None


def check_installed(tracking: Tracking) -> None:
    """Checks that the client of each requested server is installed.

    Raises:
      InputError: one is not; the message has the command that installs it.
    """
    for key, (module, extra) in _PACKAGES.items():
        if getattr(tracking, key) is not None and find_spec(module) is None:
            raise InputError(
                f"tracking.{key} requires the extra {extra}, which is not installed. Install it: "
                f"`uv sync --inexact --extra {extra}` or `pip install 'outnumbered[{extra}]'`; in "
                f"the image of a cluster's steps: `make image IMAGE_ARGS='--build-arg EXTRAS="
                f'"--extra {extra}"\'`; or remove tracking.{key}'
            )
