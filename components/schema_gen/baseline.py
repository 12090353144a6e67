"""The schema that is kept in a model registry, and the statistics that it was inferred from.

The folder `schema/` of the registry contains `schema.pbtxt`, which users may edit,
`statistics.pb`, with which later shares are compared, `kept.json`, with the time and the model
version at which the schema was kept, and `files.json`, with which these two are checked. Servers
read only folders whose name is a number.
"""

import json
import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.dsl.io import fileio

from components import artifact_files
from components.artifact_files import DamagedArtifactError
from components.registry import open_registry
from components.schema_gen import value_counts
from components.schema_gen.value_counts import Statistics

FOLDER = "schema"
SCHEMA_FILE = "schema.pbtxt"
STATISTICS_FILE = "statistics.pb"
ORIGIN_FILE = "kept.json"


class SchemaError(ValueError):
    """A kept schema that can't be used; the message gives the file and what to do."""


@dataclass(frozen=True)
class Baseline:
    """The schema and statistics that data is checked against.

    Attributes:
      schema: the schema, including the user's edits.
      statistics: statistics of the data that it was inferred from.
      origin: `version` of the model that was pushed with it, `time` in UTC, number of `images`,
        and `folder`, in which it is kept.
    """

    schema: schema_pb2.Schema
    statistics: Statistics
    origin: dict[str, Any]


def read_kept(registry: str) -> Baseline | None:
    """Reads the schema that is kept in a registry; returns None if there is none.

    Raises:
      SchemaError: one of its files is missing or can't be read.
    """
    if not is_kept(registry):
        return None
    folder = os.path.join(registry, FOLDER)
    found = load(folder)
    return Baseline(found.schema, found.statistics, {**found.origin, "folder": folder})


def is_kept(registry: str) -> bool:
    """Returns whether a registry has a schema, which may be damaged."""
    folder = os.path.join(registry, FOLDER)
    # In a bucket, the schema is written last.
    is_bucket = "://" in registry
    return bool(fileio.exists(os.path.join(folder, SCHEMA_FILE) if is_bucket else folder))


def digest(registry: str) -> str:
    """Returns a digest of the kept schema, which changes when it is edited; '' without one.

    Raises:
      SchemaError: see `read_kept`.
    """
    kept = read_kept(registry)
    return artifact_files.digest(kept.origin["folder"]) if kept else ""


def keep(registry: str, schema_uri: str, statistics_uri: str, version: int) -> bool:
    """Keeps the schema of a run in a registry, atomically, unless it already has one.

    Args:
      registry: folder or URI of the registry.
      schema_uri: URI of the Schema artifact that the run inferred.
      statistics_uri: URI of the ExampleStatistics artifact that it was inferred from.
      version: version of the model that the run pushed.

    Returns:
      Whether it was kept; False if there is a schema already, which is not changed.

    Raises:
      PushError: the registry can't be written to.
    """
    statistics = value_counts.read_statistics(value_counts.statistics_path(statistics_uri))
    origin = {
        "version": version,
        "time": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "images": value_counts.images(statistics),
    }
    with tempfile.TemporaryDirectory() as folder:
        write(Baseline(read_schema(schema_uri), statistics, origin), folder)
        # Not the schema, which users may edit.
        entries = [artifact_files.describe(folder, name) for name in (STATISTICS_FILE, ORIGIN_FILE)]
        artifact_files.write_list(folder, entries, check_digests=True)
        return open_registry(registry).add_folder(folder, FOLDER, last=SCHEMA_FILE)


def was_kept(schema_uri: str) -> bool:
    """Returns whether a Schema artifact is the kept schema, not one of the run's own data."""
    return fileio.exists(os.path.join(schema_uri, ORIGIN_FILE))


def write(baseline: Baseline, folder: str) -> None:
    """Writes the three files."""
    write_schema(baseline.schema, folder)
    with fileio.open(os.path.join(folder, STATISTICS_FILE), "wb") as file:
        file.write(baseline.statistics.SerializeToString(deterministic=True))
    with fileio.open(os.path.join(folder, ORIGIN_FILE), "w") as file:
        file.write(json.dumps(baseline.origin, indent=2))


def write_schema(schema: schema_pb2.Schema, folder: str) -> None:
    """Writes the schema as text."""
    fileio.makedirs(folder)
    with fileio.open(os.path.join(folder, SCHEMA_FILE), "w") as file:
        file.write(text_format.MessageToString(schema, as_utf8=True))


def load(folder: str) -> Baseline:
    """Reads the three files.

    Raises:
      SchemaError: one is missing or can't be read.
    """
    missing = [
        name
        for name in (SCHEMA_FILE, STATISTICS_FILE, ORIGIN_FILE)
        if not fileio.exists(os.path.join(folder, name))
    ]
    if missing:
        raise SchemaError(
            f"the kept schema in {folder} is incomplete; restore {', '.join(missing)}, or delete "
            "the folder to start over with the next blessed model"
        )
    try:
        if artifact_files.has_list(folder):  # earlier releases wrote none
            artifact_files.check(folder)
        with fileio.open(os.path.join(folder, ORIGIN_FILE), "r") as file:
            origin = json.loads(file.read())
        statistics = value_counts.read_statistics(os.path.join(folder, STATISTICS_FILE))
    except (DecodeError, ValueError, DamagedArtifactError) as error:
        problem = error.problem if isinstance(error, DamagedArtifactError) else error
        raise SchemaError(
            f"the kept schema in {folder} can't be read: {problem}; restore {STATISTICS_FILE}, "
            f"{ORIGIN_FILE} and {artifact_files.LIST_FILE}, or delete the folder to start over "
            "with the next blessed model"
        ) from error
    return Baseline(read_schema(folder), statistics, origin)


def read_schema(folder: str) -> schema_pb2.Schema:
    """Reads the schema in a folder.

    Raises:
      SchemaError: it is not a valid schema.
    """
    path = os.path.join(folder, SCHEMA_FILE)
    with fileio.open(path, "rb") as file:
        content = file.read()
    try:
        schema = text_format.Parse(content.decode(), schema_pb2.Schema())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise _invalid(path, f"at line:column {error}") from error
    if not schema.feature:
        raise _invalid(path, "which must have a feature")
    return schema


def _invalid(path: str, why: str) -> SchemaError:
    return SchemaError(
        f"{path} is not a valid schema, {why}; correct it there, or delete its folder to start "
        "over with the next blessed model"
    )
