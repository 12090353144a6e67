"""What a run made, in a form in which equal runs are equal, and what it left over."""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.registry import open_registry
from components.registry.record import RECORD_FILE
from pipeline import metadata_store

# Host, process, time, random ids, and what is written in the order in which a process makes it; the
# pages and TFMA's records repeat the figures of metrics.json, files.json repeats the files, and
# settings are no result.
_VARYING = re.compile(
    r"(fingerprint|saved_model)\.pb|events\.out\.tfevents\..*|.*\.html|run\.log|settings\.yaml"
    r"|(attributions|metrics|plots|validations)[-.].*tfrecord|files\.json"
)
# Made where a schema has been kept, as it is once a model has been pushed.
_WITH_KEPT_SCHEMA = re.compile(
    r"(.*/)?(SchemaGen/schema/(#/)?(kept\.json|statistics\.pb)|ExampleValidator/anomalies/(#/)?Split-.*)"
)
_VARYING_KEYS = {
    *("seconds", "time", "pushed_version", "feature_store"),
    *("created", "at", "run", "champion"),  # of a version and of the registry
}
_NUMBERED = re.compile(r"(/tfx/artifacts/[^/]+/[^/]+|/registry)/\d+")
VERSIONS = "number of versions"
"""The name under which the number of versions in the registry is compared."""
_HEX = re.compile(r"[0-9a-f]{8,}")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Result:
    """What the last run in an output folder made, and all that lies in the folder.

    Attributes:
      files: digest of each file of the run's outputs, the registry and `latest`, by its name
        without the ids that differ between equal runs.
      names: the path of everything in the folder, with ids and numbers replaced.
      abandoned: outputs under `tfx/artifacts` that no finished step made.
    """

    files: Mapping[str, str]
    names: frozenset[str]
    abandoned: tuple[str, ...]


def read(output: Path) -> Result:
    """Reads the result of the last run in an output folder.

    Raises:
      FileNotFoundError: there is no finished run.
    """
    if not (output / "latest").resolve(strict=True).is_dir():
        raise FileNotFoundError(output / "latest")
    registry = output / "registry"
    folders = {"registry/schema": registry / "schema", "latest": output / "latest"}
    folders |= last_outputs(output)
    if (newest := newest_version(output)) is not None:
        folders["registry/#"] = newest
    found = {
        f"{name}/{path.relative_to(folder)}": path
        for name, folder in folders.items()
        for path in folder.rglob("*")
        if path.is_file() and not is_varying(path.name)
    }
    files = {
        name: _digest(path, output)
        for name, path in found.items()
        if not _WITH_KEPT_SCHEMA.fullmatch(name)
    }
    files[VERSIONS] = str(len(open_registry(registry).versions()))
    return Result(files, names(output), tuple(abandoned(output)))


def differences(expected: Result, found: Result) -> list[str]:
    """Says in what a result differs from that of an undisturbed run, leftovers included."""
    lost = sorted(expected.files.keys() - found.files.keys())
    added = sorted(found.files.keys() - expected.files.keys())
    changed = [
        name
        for name in sorted(expected.files.keys() & found.files.keys())
        if expected.files[name] != found.files[name]
    ]
    left_over = sorted(found.names - expected.names)
    return [
        *(f"not made: {name}" for name in lost),
        *(f"made too much: {name}" for name in added),
        *(f"differs: {name}" for name in changed),
        *(f"left over: {name}" for name in left_over),
        *(f"left over of a step that did not finish: {name}" for name in found.abandoned),
    ]


def newest_version(output: Path) -> Path | None:
    """Returns the folder of the newest version in the registry; None if there is none."""
    found = open_registry(output / "registry").versions()
    return output / "registry" / str(found[-1]) if found else None


def last_outputs(output: Path) -> dict[str, Path]:
    """Returns the folders of the outputs of the last run, by COMPONENT/KEY."""
    store = metadata_store.connect(output)
    run = max(store.get_contexts_by_type("pipeline_run"), key=lambda context: context.id)
    folders = [Path(artifact.uri) for artifact in store.get_artifacts_by_context(run.id)]
    return {f"{folder.parent.parent.name}/{folder.parent.name}": folder for folder in folders}


def abandoned(output: Path) -> Iterator[str]:
    """Yields the output folders of steps that did not finish, which the next run must remove."""
    store = metadata_store.connect(output)
    finished = {artifact.uri for artifact in store.get_artifacts()}
    for folder in sorted((output / "tfx" / "artifacts").glob("[!.]*/[!.]*/*")):
        if str(folder) not in finished:
            yield str(folder.relative_to(output))


def names(output: Path) -> frozenset[str]:
    """Returns the paths of all files and folders, with what differs between runs replaced."""
    found = {_name(path, output) for path in output.rglob("*")}
    return frozenset(name for name in found if not _WITH_KEPT_SCHEMA.fullmatch(name))


def _name(path: Path, output: Path) -> str:
    text = str(path.relative_to(output))
    return _NUMBER.sub("#", _HEX.sub("#", text))


def _digest(path: Path, output: Path) -> str:
    data = path.read_bytes()
    if path.suffix == ".json":
        with contextlib.suppress(ValueError):  # damaged: its bytes are compared
            text = _NUMBERED.sub(r"\1/#", steady_json(data, path.name))
            data = text.replace(str(output), "OUTPUT").encode()
    return hashlib.sha256(data).hexdigest()


def steady_json(data: bytes, name: str) -> str:
    """Returns the content of a JSON file of a name without what differs between equal runs.

    A damaged version is pushed again under another number.
    """
    value = steady(json.loads(data))
    if name == RECORD_FILE:
        del value["version"]
    return json.dumps(value, sort_keys=True)


def is_varying(name: str) -> bool:
    """Returns whether the content of files of a name differs between equal runs."""
    return _VARYING.fullmatch(name) is not None


def steady(value: Any) -> Any:
    """Leaves times out, and whether a schema was kept before, as it is after a push."""
    if isinstance(value, dict):
        if "anomalies" in value and "checked" in value:
            return value["anomalies"]
        return {key: steady(item) for key, item in value.items() if key not in _VARYING_KEYS}
    if isinstance(value, list):
        return [steady(item) for item in value]
    return value
