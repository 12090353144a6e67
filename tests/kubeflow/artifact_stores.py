"""Where the simulated backend keeps the metadata of artifacts, and what a step sees of it.

`Mlmd` is the backend up to release 2.16, `Tables` its main branch without MLMD.
"""

import itertools
import threading
from collections.abc import Mapping
from typing import Any, Protocol

from google.protobuf import json_format, struct_pb2
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

Artifact = dict[str, Any]


class MetadataError(ValueError):
    """The backend can't store a value of an artifact's metadata."""


class ArtifactStore(Protocol):
    """Keeps artifacts.

    Attributes:
      is_mlmd: whether the backend is one with ML Metadata.
    """

    is_mlmd: bool

    def put(self, key: str, schema: Mapping[str, str], uri: str, metadata: Any) -> Artifact:
        """Stores an artifact and returns it as the next step sees it.

        Args:
          key: the output.
          schema: its type in the component's spec.
          uri: where its files are.
          metadata: its metadata, as JSON.
        """


def identity(artifact: Artifact) -> str:
    """What identifies an artifact in the cache key: MLMD's id is its name."""
    return str(artifact.get("artifactId", artifact["name"]))


class Mlmd:
    """Keeps artifacts in the engine of ML Metadata, in memory.

    `StructValueToMLMDValue` and `toRuntimeArtifact` in backend/src/v2/metadata/converter.go: a bool
    becomes an int, a list or a struct a struct of one field, all numbers are doubles, and null is
    an error. A step sees no type, and MLMD's id as the name.
    """

    is_mlmd = True

    def __init__(self) -> None:
        config = metadata_store_pb2.ConnectionConfig()
        config.fake_database.SetInParent()
        self._store = MetadataStore(config)
        self._lock = threading.Lock()

    def put(self, key: str, schema: Mapping[str, str], uri: str, metadata: Any) -> Artifact:
        kept = {**metadata, "display_name": key, "store_session_info": "{}"}
        artifact = metadata_store_pb2.Artifact(uri=uri)
        for name, value in kept.items():
            artifact.custom_properties[name].CopyFrom(_mlmd_value(name, value))
        with self._lock:
            kind = metadata_store_pb2.ArtifactType(name=next(iter(schema.values())))
            artifact.type_id = self._store.put_artifact_type(kind)
            (artifact_id,) = self._store.put_artifacts([artifact])
            (stored,) = self._store.get_artifacts_by_id([artifact_id])
        read = {name: _from_mlmd(value) for name, value in stored.custom_properties.items()}
        return {"name": str(stored.id), "uri": stored.uri, "metadata": read}


def _mlmd_value(name: str, value: Any) -> metadata_store_pb2.Value:
    match value:
        case bool():
            return metadata_store_pb2.Value(int_value=int(value))
        case int() | float():
            return metadata_store_pb2.Value(double_value=value)
        case str():
            return metadata_store_pb2.Value(string_value=value)
        case list():
            return metadata_store_pb2.Value(struct_value=_struct({"list": value}))
        case dict():
            return metadata_store_pb2.Value(struct_value=_struct({"struct": value}))
    raise MetadataError(f"{name}: unknown/unsupported value type. Received: {value!r}")


def _struct(content: dict[str, Any]) -> struct_pb2.Struct:
    return json_format.ParseDict(content, struct_pb2.Struct())


def _from_mlmd(value: metadata_store_pb2.Value) -> Any:
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "int_value":
            return float(value.int_value)
        case "double_value":
            return value.double_value
        case _:
            return json_format.MessageToDict(value.struct_value)


class Tables:
    """Keeps artifacts in the API server's tables, as the branch without MLMD does.

    `uploadOutputArtifacts` in backend/src/v2/component/launcher_v2.go and
    `convertArtifactToRuntimeArtifact` in backend/src/v2/driver: metadata stays the JSON that the
    step wrote, with nothing added; a step sees the name that the launcher had given to the output,
    the artifact's id, and a type of the API, such as Model. A metric that is not a number fails
    the step.
    """

    is_mlmd = False
    _TYPES = ("Model", "Dataset", "HTML", "Markdown")

    def __init__(self) -> None:
        self._ids = itertools.count(1)

    def put(self, key: str, schema: Mapping[str, str], uri: str, metadata: Any) -> Artifact:
        title = schema.get("schemaTitle", "").removeprefix("system.")
        for name, value in metadata.items() if title == "Metrics" else ():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise MetadataError(f"metric value {name!r} must be a number. Received: {value!r}")
        kept = {"type": {"schemaTitle": title if title in self._TYPES else "Artifact"}}
        artifact_id = f"0d7f3c1e-{next(self._ids)}"
        return {"name": key, "artifactId": artifact_id, "uri": uri, "metadata": metadata, **kept}
