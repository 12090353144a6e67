"""Registers versions with Kubeflow's Model Registry.

Uses the client that is generated from the server's API, which an extra installs. The package
`model_registry` around it sets up logging for the whole process and can't limit requests in time.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.tracking.errors import TrackingError
from components.tracking.facts import CANDIDATE, RETIRED, SERVING, TrackedVersion
from components.tracking.settings import ModelRegistry

if TYPE_CHECKING:
    import mr_openapi as mr

TOKEN = "MODEL_REGISTRY_TOKEN"
TOKEN_FILE = "KF_PIPELINES_SA_TOKEN_PATH"

_STAGE = "stage"
_KEY = "key"
_PAGE = "100"


class ModelRegistrySender:
    """Registers versions with one server; a version that is there is not registered twice."""

    def __init__(self, settings: ModelRegistry, title: str, timeout: int):
        """Sets the server.

        Args:
          settings: the server, and the name of the model in it.
          title: name of the pipeline, for a name that the settings leave open.
          timeout: seconds after which a request has failed.
        """
        self._settings = settings
        self._model = settings.model or title
        self._timeout = float(timeout)
        self.name = f"the Model Registry at {settings.address}"

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Does nothing: each call opens a connection of its own."""
        yield

    def register(self, version: TrackedVersion) -> None:
        """Registers a version, or what is missing of it."""
        self._run(lambda server: server.register(version))

    def serve(self, version: TrackedVersion) -> None:
        """Moves the stage `serving` to a version that is registered."""
        self._run(lambda server: server.serve(version))

    def _run(self, call: Callable[["_Server"], Coroutine[Any, Any, None]]) -> None:
        async def run() -> None:
            async with _connection(self._settings.address) as api:
                await call(_Server(api, self._model, self._settings.author, self._timeout))

        asyncio.run(run())


class _Server:
    """A model of a server, while it is connected."""

    def __init__(self, api: "mr.ModelRegistryServiceApi", model: str, author: str, timeout: float):
        self._api = api
        self._model = model
        self._author = author
        self._timeout = timeout

    async def register(self, version: TrackedVersion) -> None:
        import mr_openapi as mr

        model = await self._model_id()
        found = await self._find(model, version)
        if found is None:
            found = await self._api.create_model_version(
                mr.ModelVersionCreate(
                    registered_model_id=model,
                    name=str(version.version),
                    description=version.tags.get("reason"),
                    author=self._author,
                    custom_properties=_properties(version),
                ),
                _request_timeout=self._timeout,
            )
        await self._add_artifact(_id(found), version)

    async def serve(self, version: TrackedVersion) -> None:
        model = await self._model_id()
        serving = await self._find(model, version)
        if serving is None:
            raise TrackingError(f"version {version.version} is not in its model {self._model}")
        for each in await self._versions(model):
            if each.id != serving.id and _text(each, _STAGE) == SERVING:
                await self._set_stage(each, RETIRED)
        if _text(serving, _STAGE) != SERVING:
            await self._set_stage(serving, SERVING)

    async def _model_id(self) -> str:
        import mr_openapi as mr
        from mr_openapi.exceptions import NotFoundException

        try:
            found = await self._api.find_registered_model(
                name=self._model, _request_timeout=self._timeout
            )
        except NotFoundException:
            found = await self._api.create_registered_model(
                mr.RegisteredModelCreate(name=self._model, owner=self._author),
                _request_timeout=self._timeout,
            )
        return _id(found)

    async def _find(self, model: str, version: TrackedVersion) -> "mr.ModelVersion | None":
        from mr_openapi.exceptions import NotFoundException

        try:
            found = await self._api.find_model_version(
                name=str(version.version),
                parent_resource_id=model,
                _request_timeout=self._timeout,
            )
        except NotFoundException:
            return None
        if _text(found, _KEY) != version.key:
            raise TrackingError(
                f"its model {self._model} already has a version {version.version}, of another "
                "registry; set tracking.model_registry.model to a name that only this one uses"
            )
        return found

    async def _versions(self, model: str) -> "list[mr.ModelVersion]":
        found: list[mr.ModelVersion] = []
        token = None
        while True:
            page = await self._api.get_registered_model_versions(
                model, page_size=_PAGE, next_page_token=token, _request_timeout=self._timeout
            )
            found += page.items or []
            token = page.next_page_token
            if not token:
                return found

    async def _add_artifact(self, found: str, version: TrackedVersion) -> None:
        """Adds the URI of the model, unless it is there: it is missing if a call was cut off."""
        import mr_openapi as mr

        there = await self._api.get_model_version_artifacts(found, _request_timeout=self._timeout)
        if there.items:
            return
        artifact = mr.ModelArtifact(
            name=f"{self._model}-{version.version}-{version.key}",
            uri=version.uri,
            state=mr.ArtifactState.LIVE,
            model_format_name="tensorflow",
            model_format_version="saved_model",
            model_source_kind="pipelines",
            model_source_id=version.tags.get("run"),
            model_source_name=self._model,
        )
        await self._api.upsert_model_version_artifact(
            found, mr.Artifact(artifact), _request_timeout=self._timeout
        )

    async def _set_stage(self, version: "mr.ModelVersion", stage: str) -> None:
        import mr_openapi as mr

        properties = {**(version.custom_properties or {}), _STAGE: _value(stage)}
        # What an update leaves out is set to its default.
        update = mr.ModelVersionUpdate(
            custom_properties=properties,
            state=version.state,
            description=version.description,
            author=version.author,
        )
        await self._api.update_model_version(_id(version), update, _request_timeout=self._timeout)


@asynccontextmanager
async def _connection(address: str) -> "AsyncIterator[mr.ModelRegistryServiceApi]":
    import mr_openapi as mr

    async with mr.ApiClient(mr.Configuration(host=address, access_token=_token())) as client:
        yield mr.ModelRegistryServiceApi(client)


def _token() -> str | None:
    if token := os.environ.get(TOKEN):
        return token
    path = os.environ.get(TOKEN_FILE)
    return Path(path).read_text(encoding="utf-8").strip() if path else None


def _properties(version: TrackedVersion) -> "dict[str, mr.MetadataValue]":
    return {
        **{name: _value(text) for name, text in version.parameters.items()},
        **{name: _value(number) for name, number in version.metrics.items()},
        **{name: _value(text) for name, text in version.tags.items()},
        _KEY: _value(version.key),
        _STAGE: _value(CANDIDATE),
    }


def _value(value: float | str) -> "mr.MetadataValue":
    import mr_openapi as mr

    if isinstance(value, str):
        text = mr.MetadataStringValue(string_value=value, metadata_type="MetadataStringValue")
        return mr.MetadataValue(text)
    return mr.MetadataValue(
        mr.MetadataDoubleValue(double_value=value, metadata_type="MetadataDoubleValue")
    )


def _text(version: "mr.ModelVersion", name: str) -> str | None:
    found = (version.custom_properties or {}).get(name)
    return getattr(found.actual_instance, "string_value", None) if found else None


def _id(found: "mr.ModelVersion | mr.RegisteredModel") -> str:
    if found.id is None:
        raise TrackingError(f"the server has answered without an id: {found.name}")
    return found.id
