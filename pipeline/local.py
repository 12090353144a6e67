"""Runs the pipeline on this machine: TFX's LocalDagRunner, MLMD in SQLite, Beam in process."""

import contextlib
import datetime
import errno
import fcntl
import json
import os
import re
import shutil
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import yaml
from pydantic import BaseModel

from components import stop_signals
from components.champion_finder import wanted
from components.code_version import project_version
from components.in_progress import owned_name
from components.reporter.files import METRICS_FILE, REPORT_FILE
from components.whole_file import write_text
from pipeline import engine, left_over, metadata_store
from pipeline.beam_options import beam_args
from pipeline.console import RunView, captured_output, followed
from pipeline.kept_outputs import KeptOutputs
from pipeline.ledgers import ledger_places
from pipeline.metadata_store import MetadataStoreError
from pipeline.settings import Beam, Settings

if TYPE_CHECKING:
    from tfx.orchestration.pipeline import Pipeline

LOG_FILE = "run.log"
# The messages of the operating system and of SQLite.
_FULL_DISK = ("no space left on device", "database or disk is full")
_NOT_WRITABLE = ("read-only file system", "permission denied")

_LITTLE_BYTES = 2**20
# Begins the note that an error has of the component that it ended.
_STEP_NOTE = "component: "

_ERROR_LINE = re.compile(r"^(?:[A-Za-z_][\w.]*(?:Error|Exception|Interrupt)): ", re.MULTILINE)
_WHERE = re.compile(r"\s*\[while running '[^']*'\]")


class RunError(RuntimeError):
    """A run failed; the message has the cause and the path of the log.

    Attributes:
      folder: the run's folder, with the log; None: it has none.
      step: the component that failed; None: none, or unknown.
    """

    def __init__(self, message: str, *, folder: Path | None = None, step: str | None = None):
        super().__init__(message)
        self.folder = folder
        self.step = step


@dataclass(frozen=True)
class RunResult:
    """The result of a finished run.

    Attributes:
      folder: contains the report, figures, settings and log.
      metrics: the content of `metrics.json`.
    """

    folder: Path
    metrics: dict[str, Any]

    @property
    def blessed(self) -> bool:
        """Whether the model passed every gate."""
        return bool(self.metrics["blessed"])

    @property
    def report(self) -> Path:
        """The HTML page of the run."""
        return self.folder / REPORT_FILE


def run(
    settings: Settings,
    output: Path,
    *,
    data_version: str,
    use_cache: bool = True,
    champion: str = wanted.SERVING,
) -> RunResult:
    """Runs the whole pipeline.

    Args:
      settings: the pipeline's settings.
      output: output folder; a second run in it reuses everything unchanged.
      data_version: a digest of the data; changed data is read again.
      use_cache: reuse the outputs of earlier runs.
      champion: the version to compare the model with, see `wanted`; by default the one that
        serves, or of a repeated run the one that served when it was begun first.

    Returns:
      The run's folder and figures; `output/latest` is a link to the folder.

    Raises:
      RunError: the folder is not writable or in use, or a component failed.
    """

    def make_dag(output: Path, *, enable_cache: bool) -> "Pipeline":
        from components import object_store
        from components.champion_finder import found_champion
        from components.registry import open_registry
        from components.schema_gen import baseline
        from pipeline import run_champion
        from pipeline.dag import Places, build, champion_request

        connection = metadata_store.connection(output)
        pushed = registry(settings, output)
        if "://" in pushed:
            object_store.register()
        version = champion
        if version == wanted.SERVING and enable_cache:
            version = run_champion.find(
                settings, output, data_version=data_version, registry=open_registry(pushed)
            )
        elif version == wanted.SERVING:
            version = wanted.text(open_registry(pushed).serving())
        found_champion.check(champion_request(settings, pushed, version))
        places = Places(
            pipeline_root=str(output / "tfx" / "artifacts"),
            registry=pushed,
            kept_schema=baseline.digest(pushed),
            serving_version=version,
            checkpoints=str(output / "tfx" / "checkpoints"),
            features=str(output / "features"),
            span_store=span_store(output),
            data_version=data_version,
            code_version=project_version(),
            **ledger_places(settings, output, connection),
        )
        return build(settings, places, connection=connection, enable_cache=enable_cache)

    folder = execute(settings, output, make_dag, result="Report", use_cache=use_cache)
    return RunResult(folder, json.loads((folder / METRICS_FILE).read_text(encoding="utf-8")))


def span_store(output: Path) -> str:
    """Returns the folder in which runs and studies keep the images of spans."""
    return str(output / "tfx" / "spans")


def registry(settings: Settings, output: Path) -> str:
    """Returns the registry to which a run pushes: an absolute path, or a URI."""
    given = settings.pusher.registry
    if given is not None and "://" in given:
        return given.rstrip("/")
    return str(Path(given or output / "registry").absolute())


class MakeDag(Protocol):
    """Makes the pipeline for an output folder."""

    def __call__(self, output: Path, *, enable_cache: bool) -> "Pipeline":
        """Returns the pipeline, with the metadata store of `metadata_store.connection`."""


def execute(
    settings: BaseModel, output: Path, make_dag: MakeDag, *, result: str, use_cache: bool
) -> Path:
    """Runs any pipeline of the project.

    Args:
      settings: saved with the result.
      output: output folder; a second run in it reuses everything unchanged.
      make_dag: makes the pipeline; called once TensorFlow may be imported.
      result: name of the class in `components.artifacts` whose files are the run's result.
      use_cache: reuse the outputs of earlier runs.

    Returns:
      The run's folder, with the result's files, settings and log; `output/latest` is a link to
      it.

    Raises:
      RunError: the folder is not writable, in use or damaged, Beam's engine can't be reached, or a
        component failed.
    """
    output = output.absolute()
    _check_latest(output)
    _check_engine(getattr(settings, "beam", None))
    with locked(output, "lock"):
        return _execute(settings, output, make_dag, result=result, use_cache=use_cache)


def _check_engine(beam: Beam | None) -> None:
    if beam is None:
        return
    try:
        engine.check(beam_args(beam.runner, beam.options))
    except engine.EngineError as error:
        raise RunError(str(error)) from error


def _execute(
    settings: BaseModel, output: Path, make_dag: MakeDag, *, result: str, use_cache: bool
) -> Path:
    folder = _new_run_folder(output, settings)
    log = folder / LOG_FILE
    with _reported(output, log), captured_output(log) as screen:
        left_over.remove_files(output)
        with left_over.temporary_folder(output):
            print("Loading TensorFlow and TFX", file=screen)
            _open_store(output, screen)
            # Set before TensorFlow is imported, or the first component that uses a GPU would
            # allocate all its memory.
            os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
            _launch(make_dag(output, enable_cache=use_cache), output, screen)
            _collect(output, folder, result)
        _point_latest(output, folder)
    return folder


@contextlib.contextmanager
def _reported(output: Path, log: Path) -> Iterator[None]:
    try:
        yield
    except MetadataStoreError as error:
        raise RunError(f"{error}\nFull log: {log}", folder=log.parent) from error
    except Exception as error:  # any error of a component, Beam or MLMD
        stop_signals.raise_received()
        message = _error_message(error, output, log)
        raise RunError(message, folder=log.parent, step=_failed_step(error)) from error


def _open_store(output: Path, screen: TextIO) -> None:
    """Checks the metadata store, and moves outputs away that it does not list."""
    store = metadata_store.path(output)
    artifacts = output / "tfx" / "artifacts"
    if metadata_store.is_new(store) and artifacts.is_dir() and any(artifacts.iterdir()):
        # A new store numbers its outputs from 1: files of both would mix in one folder.
        moved = artifacts.with_name(f"artifacts.old-{_now()}")
        artifacts.rename(moved)
        print(
            f"There is no metadata store at {store}, or it is empty, so all steps run again. The "
            f"outputs of earlier runs were moved to {moved}, which can be deleted",
            file=screen,
        )
    metadata_store.connect(output)


def _launch(dag: "Pipeline", output: Path, screen: TextIO) -> None:
    kept = KeptOutputs(output / "tfx", metadata_store.connection(output))
    if kept.is_record_damaged():
        print(
            f"{kept.path} is damaged or of an earlier release, and was ignored: every output is "
            "compared with its list of files instead",
            file=screen,
        )
    for path in kept.withdraw_damaged():
        print(f"Changed or deleted since it was made, so made again: {path}", file=screen)
    for problem in left_over.remove_outputs(output, kept.folders()):
        print(problem, file=screen)
    try:
        _run_locally(dag, screen)
    except BaseException as error:  # also Ctrl-C: the next run reuses the finished outputs
        with contextlib.suppress(Exception):  # the first error is the one to report
            kept.record()
            for path in kept.withdraw_named(root_message(error)):
                print(f"Damaged, so the next run makes it again: {path}", file=screen)
        raise
    kept.record()
    kept.remove_withdrawn()


def _run_locally(dag: "Pipeline", screen: TextIO) -> None:
    from absl import logging as absl_logging
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner

    absl_logging.set_verbosity(absl_logging.INFO)
    view = RunView(screen, [node.id for node in dag.components])
    try:
        with view, followed(view), engine.reported(dag.beam_pipeline_args or []):
            LocalDagRunner().run(dag)
            stop_signals.raise_received()
    except Exception as error:
        if view.failed:
            error.add_note(f"{_STEP_NOTE}{view.failed}")
        raise


def _failed_step(error: Exception) -> str | None:
    notes = (note for note in getattr(error, "__notes__", ()) if note.startswith(_STEP_NOTE))
    return next((note.removeprefix(_STEP_NOTE) for note in notes), None)


def _new_run_folder(output: Path, settings: BaseModel) -> Path:
    folder = output / "runs" / _now()
    try:
        folder.mkdir(parents=True)
        text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
        write_text(folder / "settings.yaml", text)
    except OSError as error:
        raise _unwritable(output, error) from error
    return folder


def _unwritable(output: Path, error: OSError) -> RunError:
    remedy = "free some space" if error.errno == errno.ENOSPC else "make it writable"
    return RunError(
        f"the output folder {output} can't be written to ({error.strerror}: {error.filename}); "
        f"{remedy}, or set --output to a writable folder"
    )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S.%fZ")


@contextlib.contextmanager
def locked(output: Path, name: str) -> Iterator[None]:
    """Holds a lock in an output folder.

    Args:
      output: the folder, which is created if it does not exist.
      name: of the lock.

    Raises:
      RunError: another process holds it, or the folder is not writable.
    """
    # SQLite would let two runs start, and they would fail later on each other's locks.
    path = output / "tfx" / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
    except IsADirectoryError as error:
        raise RunError(f"the lock {path} can't be opened ({error.strerror}); delete it") from error
    except OSError as error:
        raise _unwritable(output, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(
                f"another run is using {output}; wait for it, or set another --output"
            ) from error
        yield


def _collect(output: Path, folder: Path, result: str) -> None:
    from components.artifact_files import LIST_FILE

    source = _newest_artifact(output, result)
    for file in sorted(Path(source).iterdir()):
        if file.name != LIST_FILE:
            shutil.copyfile(file, folder / file.name)


def _newest_artifact(output: Path, kind_name: str) -> str:
    from components import artifacts

    store = metadata_store.connect(output)
    run = max(store.get_contexts_by_type("pipeline_run"), key=lambda context: context.id)
    types = {kind.id: kind.name for kind in store.get_artifact_types()}
    type_name = getattr(artifacts, kind_name).TYPE_NAME
    found = [
        artifact.uri
        for artifact in store.get_artifacts_by_context(run.id)
        if types[artifact.type_id] == type_name
    ]
    return found[-1]


def _check_latest(output: Path) -> None:
    link = output / "latest"
    if link.exists() and not link.is_symlink():
        raise RunError(
            f"{link} must be the link that a run makes, and is a folder or file, as after a copy "
            "of the output folder; rename or delete it"
        )


def _point_latest(output: Path, folder: Path) -> None:
    link = output / "latest"
    new = output / f".{owned_name()}-latest"
    new.symlink_to(folder.relative_to(output), target_is_directory=True)
    new.replace(link)


def _error_message(error: Exception, output: Path, log: Path) -> str:
    message = root_message(error)
    if any(text in message.lower() for text in _FULL_DISK):
        message = f"{_full_place(output)}\n{message}"
    elif metadata_store.tells_of_damage(message):
        message = str(metadata_store.described(metadata_store.path(output), message))
    elif _is_full(output):  # SQLite and C++ code have other messages too
        message = (
            f"{message}\nLittle space is left for {output}; free some, or set another --output"
        )
    elif any(text in message.lower() for text in _NOT_WRITABLE) and "writable" not in message:
        message = f"{message}\nMake it writable, or set --output to a writable folder"
    return f"{message}\nFull log: {log}"


def _full_place(output: Path) -> str:
    with contextlib.suppress(OSError):  # there is no folder for temporary files
        temporary = tempfile.gettempdir()
        if _is_full(temporary) and not _is_full(output):
            return (
                f"no space left for temporary files in {temporary}; free some, or set TMPDIR to "
                "another folder"
            )
    return f"no space left for {output}; free some, or set another --output"


def _is_full(folder: str | Path) -> bool:
    return shutil.disk_usage(folder).free < _LITTLE_BYTES


def root_message(error: BaseException) -> str:
    """The message of the original exception, without the wrappers of Beam and TFX.

    An exception that this project raised from another one says more than that one.
    """
    while error.__cause__ is not None and not _is_raised_here(error):
        error = error.__cause__
    text = _WHERE.sub("", str(error)).strip()
    starts = [match.end() for match in _ERROR_LINE.finditer(text)]
    message = text[starts[-1] :] if starts else text
    return message.strip() or type(error).__name__


def _is_raised_here(error: BaseException) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    module = frames[-1].f_globals.get("__name__", "") if frames else ""
    return module.partition(".")[0] in {"components", "pipeline"}
