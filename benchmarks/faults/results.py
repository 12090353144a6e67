"""What a run made, in a form in which equal runs are equal, and what it left over."""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList

from components.registry import open_registry
from components.registry.record import RECORD_FILE
from components.registry.state import STATE_FILE
from components.reporter.files import REPORT_FILE
from pipeline import local, metadata_store
from pipeline.retrain import history, page
from pipeline.retrain.loop import PAGE_FILE

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
    "is_new",  # of a push, which the next run finds done
}
_STATISTICS = ("FeatureStats.pb", "statistics.pb")
_DRAWN_BEFORE = {"carried_forward", "newcomers"}
_VARYING_OF_LINE = {"at", "seconds", "run"}
_NUMBERED = re.compile(r"(/tfx/artifacts/[^/]+/[^/]+|/registry)/\d+")
VERSIONS = "number of versions"
"""The name under which the number of versions in the registry is compared."""
POINTER = f"registry/{STATE_FILE}"
"""The name under which the registry's history is compared, with all numbers of versions."""
_HEX = re.compile(r"[0-9a-f]{8,}")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Result:
    """What the last run in an output folder made, and all that lies in the folder.

    Attributes:
      files: digest of each file of the run's outputs, the registry, the ledger, the kept spans,
        `latest` and the history, by its name without the ids that differ between equal runs.
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
    found = {name: path for name, path in _files(folders) if not is_varying(path.name)}
    # Of these, equal runs make the same bytes in files of any name.
    found |= _files({"ledgers": output / "ledgers", "spans": Path(local.span_store(output))})
    files = {
        name: _digest(path, output)
        for name, path in found.items()
        if not _WITH_KEPT_SCHEMA.fullmatch(name)
    }
    files |= dict([*_registry(registry), *_history(output)])
    return Result(files, names(output), tuple(abandoned(output)))


def _files(folders: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    for name, folder in folders.items():
        for path in folder.rglob("*"):
            if path.is_file():
                yield f"{name}/{path.relative_to(folder)}", path


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


def _registry(registry: Path) -> Iterator[tuple[str, str]]:
    """Yields how many versions there are, and whether the newest of them serves."""
    found = open_registry(registry)
    versions = found.versions()
    yield VERSIONS, str(len(versions))
    yield "version that serves", _of_newest(found.serving(), versions)
    if (path := registry / STATE_FILE).exists():
        yield POINTER, _digest(path, registry)


def _of_newest(version: int | None, versions: Sequence[int]) -> str:
    return "the newest" if versions and version == versions[-1] else str(version)


def _history(output: Path) -> Iterator[tuple[str, str]]:
    """Yields each line of the history, and whether the page shows these lines."""
    path = output / history.HISTORY_FILE
    if not path.exists():
        return
    try:
        rows = history.read(path)
    except history.HistoryError as error:
        yield path.name, str(error)
        return
    for number, row in enumerate(rows, start=1):
        line = row.model_dump(mode="json", exclude=_VARYING_OF_LINE)
        has_report = (output / row.run / REPORT_FILE).is_file()
        yield f"{path.name}, line {number}", json.dumps({**line, "has_report": has_report})
    if (shown := output / PAGE_FILE).exists():
        title = yaml.safe_load((output / "latest" / "settings.yaml").read_text())["name"]
        is_whole = shown.read_text(encoding="utf-8") == page.render(rows, title=title)
        yield PAGE_FILE, "shows the history" if is_whole else "does not show the history"


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
    elif path.name in _STATISTICS:
        with contextlib.suppress(DecodeError):
            data = _steady_statistics(data)
    return hashlib.sha256(data).hexdigest()


def _steady_statistics(data: bytes) -> bytes:
    """Returns statistics of TFX, whose sums of floats depend on the order of the shards."""
    parsed = DatasetFeatureStatisticsList.FromString(data)
    return json.dumps(_rounded(json_format.MessageToDict(parsed)), sort_keys=True).encode()


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


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
    """Leaves out what differs between equal runs.

    These are times; whether a schema was kept before, as it is after a push; and whether an image
    was drawn before, as it is in a draw that is repeated because it was killed.
    """
    if isinstance(value, dict):
        if "anomalies" in value and "checked" in value:
            return value["anomalies"]
        if value.keys() >= _DRAWN_BEFORE:
            value = {**value, "drawn": sum(value[key] for key in _DRAWN_BEFORE)}
        left_out = _VARYING_KEYS | _DRAWN_BEFORE
        return {key: steady(item) for key, item in value.items() if key not in left_out}
    if isinstance(value, list):
        return [steady(item) for item in value]
    return value
