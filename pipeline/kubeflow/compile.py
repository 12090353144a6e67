"""Compiles a pipeline for Kubeflow Pipelines, or for Vertex AI."""

import importlib.util
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from components import paths
from components.notifications.settings import Notifications
from pipeline.beam_options import DATAFLOW
from pipeline.kubeflow import node_pools
from pipeline.kubeflow.errors import CompileError
from pipeline.kubeflow.exit_handler import STEP
from pipeline.kubeflow.settings import Auth, Kubeflow
from pipeline.ledgers import ledger_name
from pipeline.settings import Beam, Settings
from pipeline.study.settings import AnySettings, StudySettings

if TYPE_CHECKING:
    from tfx.orchestration.data_types import RuntimeParameter
    from tfx.orchestration.pipeline import Pipeline

_NAME = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
_SUFFIXES = {"kubeflow": (".yaml", ".yml"), "vertex": (".json",)}
_CHECKPOINTS = "checkpoints"
_SPANS = "spans"
# Vertex AI mounts every bucket below this folder.
_VERTEX_BUCKETS = "/gcs/"
_OR_BUCKET = {"pusher.registry": ", or a folder of a bucket (s3://, gs://; gs:// on Vertex AI)"}


def compile_pipeline(settings: Settings, output: Path, *, data_version: str = "") -> Path:
    """Compiles the main pipeline.

    Its runtime parameters are `source`, `span`, `data_version`, `epochs`, `model` and
    `pipeline_root`; their defaults are the values in the settings.

    Args:
      settings: with the section `kubeflow`.
      output: the file to write, see `compile_dag`.
      data_version: a digest of the data at `source`. Without it the images are read again in
        each run; with it a run with the same parameters may take them, and everything derived
        from them, from the cache.

    Returns:
      `output`.

    Raises:
      CompileError: a setting is missing, or the cluster can't run the pipeline.
    """
    kubeflow = _section(settings.kubeflow)
    _check_runner(settings.beam)
    settings = settings.model_copy(update={"kubeflow": kubeflow})
    _check_kfp()
    from pipeline.dag import Places, TrainingParameters, build

    places = Places(
        pipeline_root=kubeflow.pipeline_root,
        registry=_registry(settings, kubeflow),
        checkpoints=f"{kubeflow.pipeline_root}/{_CHECKPOINTS}",
        data_version=_parameter("data_version", data_version),
        ledger=_ledger(settings, kubeflow),
        span_store=f"{_SPANS}/{settings.name}",
    )
    parameters = TrainingParameters(
        source=_parameter("source", settings.data.source),
        span=_parameter("span", settings.data.span or ""),
        epochs=_parameter("epochs", settings.trainer.epochs),
        model=_parameter("model", settings.trainer.model),
        pipeline_root=_parameter("pipeline_root", kubeflow.pipeline_root),
    )
    dag = build(settings, places, parameters=parameters)
    return compile_dag(dag, kubeflow, output, notifications=settings.notifications)


def compile_study(study: StudySettings, output: Path, *, data_version: str = "") -> Path:
    """Compiles a study, with one step per arm.

    Its runtime parameters are `source`, `span`, `data_version` and `pipeline_root`. Features are
    kept for later runs if `feature_store` is a folder below a mounted volume, and computed once
    per run if it is not set.

    Args:
      study: with the section `kubeflow`.
      output: the file to write, see `compile_dag`.
      data_version: see `compile_pipeline`.

    Returns:
      `output`.

    Raises:
      CompileError: a setting is missing, or the cluster can't run the study.
    """
    kubeflow = _section(study.kubeflow)
    _check_runner(study.beam)
    study = study.model_copy(update={"kubeflow": kubeflow})
    _check_kfp()
    from pipeline.dag import Places, RunParameters
    from pipeline.study.dag import build

    if study.feature_store:
        _check_mounted("feature_store", study.feature_store, kubeflow)
    places = Places(
        pipeline_root=kubeflow.pipeline_root,
        registry="",
        checkpoints=f"{kubeflow.pipeline_root}/{_CHECKPOINTS}",
        features=study.feature_store or "",
        data_version=_parameter("data_version", data_version),
        ledger=_ledger(study, kubeflow),
        span_store=f"{_SPANS}/{study.name}",
    )
    parameters = RunParameters(
        source=_parameter("source", study.data.source),
        span=_parameter("span", study.data.span or ""),
        pipeline_root=_parameter("pipeline_root", kubeflow.pipeline_root),
    )
    dag = build(study, places, parameters=parameters)
    return compile_dag(dag, kubeflow, output, notifications=study.notifications)


def _section(kubeflow: Kubeflow | None) -> Kubeflow:
    """The section without the way in which a client signs in, which is no part of a pipeline."""
    if kubeflow is None:
        raise CompileError(
            "the section kubeflow of the settings is required; set kubeflow.image and "
            "kubeflow.pipeline_root"
        )
    return kubeflow.model_copy(update={"auth": Auth()})


def _check_runner(beam: Beam) -> None:
    if beam.runner == DATAFLOW:
        raise CompileError(
            f"beam.runner must not be {DATAFLOW}: the artifacts of a step are files of its pod, of "
            "which the launcher keeps copies in the bucket, and Dataflow's workers see the bucket "
            "only. Use the in-process runner, with kubeflow.resources for its cores, or an engine "
            f"whose workers see the folder of `outnumbered run`. Received: {beam.runner!r}"
        )


def _parameter(name: str, default: str | int) -> "RuntimeParameter":
    from tfx.orchestration.data_types import RuntimeParameter

    return RuntimeParameter(name, ptype=type(default), default=default)


def compile_dag(
    dag: "Pipeline",
    kubeflow: Kubeflow,
    output: Path,
    *,
    notifications: Notifications | None = None,
) -> Path:
    """Compiles any TFX pipeline.

    Args:
      dag: the pipeline. Nodes whose id is a step in `gpu.steps`, or such a step followed by a
        dot and a name, run on GPU nodes; those of `node_pools` on the nodes of their pool.
      kubeflow: the settings.
      output: the file to write: for `kubeflow` YAML with two documents, the pipeline and its
        Kubernetes settings; for `vertex` one JSON object. The same pipeline and settings give
        the same bytes. An existing file is replaced atomically.
      notifications: who is told how a run ended; None: nobody.

    Returns:
      `output`.

    Raises:
      CompileError: the cluster can't run the pipeline, or the file can't be written.
    """
    _check_kfp()
    _check_suffix(output, kubeflow)
    _check_name(dag.pipeline_info.pipeline_name)
    from pipeline.kubeflow import assemble
    from pipeline.tfx_on_kubeflow import compiling

    receivers = None if notifications is None or notifications.is_off() else notifications
    steps = [*(node.id for node in compiling.steps(dag)), *([STEP] if receivers else [])]
    node_pools.check_steps(kubeflow, steps)
    if kubeflow.target == "vertex":
        _check_vertex(kubeflow, receivers)
        job = assemble.vertex_job(dag, kubeflow)
        text = json.dumps(job, sort_keys=True, indent=2) + "\n"
    else:
        if receivers is not None:
            _check_secrets(kubeflow, receivers)
        documents = [
            assemble.pipeline_spec(dag, kubeflow, receivers),
            assemble.platform_spec(dag, kubeflow, receivers),
        ]
        text = yaml.safe_dump_all(documents, sort_keys=True, allow_unicode=True)
    _write(output, text)
    return output


def _registry(settings: Settings, kubeflow: Kubeflow) -> str:
    given = settings.pusher.registry
    stores = ("gs",) if kubeflow.target == "vertex" else paths.BUCKET_SCHEMES
    if given and given.partition("://")[0] in stores:
        return given.rstrip("/")
    return _check_mounted("pusher.registry", given, kubeflow)


def _ledger(settings: AnySettings, kubeflow: Kubeflow) -> str:
    """The ledger's path: relative to the pipeline root, unless the settings give another."""
    given = settings.sampler.ledger
    if given is None:
        return ledger_name(settings)
    return given if "://" in given else _check_mounted("sampler.ledger", given, kubeflow)


def _check_mounted(key: str, folder: str | None, kubeflow: Kubeflow) -> str:
    """The folder, which must be on storage that outlives the pod."""
    if kubeflow.target == "vertex":
        mounts, where = [_VERTEX_BUCKETS], "a path such as /gcs/bucket/folder"
    else:
        mounts = [volume.path.rstrip("/") + "/" for volume in kubeflow.volumes]
        where = "a path below one of kubeflow.volumes"
    inside = f"{os.path.normpath(folder)}/" if folder else ""
    if folder is None or not any(inside.startswith(mount) for mount in mounts):
        raise CompileError(
            f"{key} must be a folder that outlives the pod, {where}{_OR_BUCKET.get(key, '')}; "
            f"mounts: {mounts}. "
            f"Received: {folder!r}"
        )
    return folder


def _check_kfp() -> None:
    missing = [name for name in ("kfp", "kfp.kubernetes") if not _is_installed(name)]
    if missing:
        raise CompileError(
            f"{' and '.join(missing)} can't be imported and is required to compile; install kfp "
            "and kfp-kubernetes, for example with `uv sync`"
        )


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the parent package
        return False


def _check_suffix(output: Path, kubeflow: Kubeflow) -> None:
    allowed = _SUFFIXES[kubeflow.target]
    if output.suffix not in allowed:
        raise CompileError(
            f"the output file of a pipeline for {kubeflow.target} must end in "
            f"{' or '.join(allowed)}. Received: {output}"
        )


def _check_name(name: str) -> None:
    if not _NAME.match(name):
        raise CompileError(
            "name must be a valid Kubernetes name: up to 63 lower-case letters, digits and -, "
            f"starting and ending with a letter or a digit. Received: {name!r}"
        )


def _check_secrets(kubeflow: Kubeflow, notifications: Notifications) -> None:
    """Checks that the exit step gets each variable, from a secret alone."""
    given = {
        variable
        for secret in kubeflow.secrets
        if secret.steps == "all" or STEP in (secret.steps or ())
        for variable in secret.env
    }
    for variable, key in notifications.variables().items():
        if variable in kubeflow.env:
            raise CompileError(
                f"kubeflow.env must not set {variable}, which {key} names: its value would be in "
                "the compiled file. Set it by kubeflow.secrets instead"
            )
        if variable not in given:
            raise CompileError(
                f"{key} names the variable {variable}, which the step {STEP} gets from no secret; "
                "add one that has it, such as kubeflow.secrets: [{name: notifications, env: "
                f"{{{variable}: url}}, steps: [{STEP}]}}]"
            )


def _check_vertex(kubeflow: Kubeflow, notifications: Notifications | None) -> None:
    if notifications is not None:
        raise CompileError(
            "notifications are not supported by Vertex AI, which notifies by itself; remove "
            "notifications.webhook, .slack and .email, or set kubeflow.target to kubeflow"
        )
    if not kubeflow.pipeline_root.startswith("gs://"):
        raise CompileError(
            "kubeflow.pipeline_root must begin with gs:// for Vertex AI. Received: "
            f"{kubeflow.pipeline_root!r}"
        )
    given = {
        "volumes": kubeflow.volumes,
        "secrets": kubeflow.secrets,
        "gpu.node_selector": kubeflow.gpu.node_selector,
        "node_pools": kubeflow.node_pools,
        "resources.cpu_request": kubeflow.resources.cpu_request,
        "resources.memory_request": kubeflow.resources.memory_request,
        "gpu.resources.cpu_request": kubeflow.gpu.resources.cpu_request,
        "gpu.resources.memory_request": kubeflow.gpu.resources.memory_request,
        "labels": kubeflow.labels,
        "gpu.labels": kubeflow.gpu.labels,
        "annotations": kubeflow.annotations,
    }
    for key, value in given.items():
        if value:
            raise CompileError(
                f"kubeflow.{key} is not supported by Vertex AI; remove it, or set "
                f"kubeflow.target to kubeflow. Received: {value}"
            )


def _write(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise CompileError(f"{path} can't be written to ({error.strerror})") from error
