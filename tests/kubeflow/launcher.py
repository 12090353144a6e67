"""Simulates the backend and launcher of Kubeflow Pipelines on this machine.

It reads only the compiled YAML. The command line of each step runs in a separate process, with
its own environment and file system: of other steps it can access only what is in the object store
and what the backend passes on. Not simulated: limits of CPU and memory, the network, and images.
"""

import contextlib
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from artifact_stores import Artifact, ArtifactStore, Mlmd, identity
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2
from launcher_dags import Dag, input_artifacts, is_exit_task, producers
from launcher_values import (
    artifact_placeholders,
    compiled,
    converted,
    has_kind,
    parameter_placeholders,
)

PROJECT = Path(__file__).parents[2]
_MIRRORS = {"s3://": "s3", "minio://": "minio", "gs://": "gcs"}
_LOGS = "executor-logs"
_LOGS_TYPE = {"schemaTitle": "system.Artifact"}
# `defaultPipelineRoot` in backend/src/v2/config/env.go.
_BACKEND_ROOT = "minio://mlpipeline/v2/artifacts"


class StepFailedError(RuntimeError):
    """A step failed in all its attempts."""


class UnschedulableError(RuntimeError):
    """No node can run a pod."""


@dataclass(frozen=True)
class Node:
    """A node of the cluster.

    Attributes:
      labels: for selectors.
      taints: keys of NoSchedule taints, or key=value.
      devices: how many of each device, such as nvidia.com/gpu.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[str] = ()
    devices: Mapping[str, int] = field(default_factory=dict)


CPU_NODE = Node("cpu")
GPU_NODE = Node(
    "gpu", labels={"pool": "gpu"}, taints=["nvidia.com/gpu"], devices={"nvidia.com/gpu": 1}
)


@dataclass(frozen=True)
class Pod:
    """One attempt at a step.

    Attributes:
      task: the step's name in the pipeline.
      attempt: 1 for the first.
      node: where it runs.
      folder: its file system.
      process: the step's command.
    """

    task: str
    attempt: int
    node: str
    folder: Path
    process: subprocess.Popen[bytes]


Start = Callable[[Sequence[str], Path, Mapping[str, str], Path], Any]


def start_process(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Starts a command in a process."""
    with log.open("wb") as file:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT
        )


@dataclass
class Step:
    """The result of a step.

    Attributes:
      outputs: its artifacts, as the backend passes them on.
      pods: its attempts; empty if its outputs came from the cache.
      waits: seconds between the attempts.
      seconds: wall seconds of all attempts.
    """

    outputs: dict[str, Artifact] = field(default_factory=dict)
    pods: list[Pod] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def cached(self) -> bool:
        """Whether its outputs came from the cache."""
        return not self.pods


@dataclass
class Cluster:
    """A cluster with Kubeflow Pipelines on it.

    Attributes:
      store: an S3 client.
      folder: for the pods' file systems.
      secrets: keys and values of each.
      claims: the folder of each persistent volume claim; it is mounted at the same path.
      nodes: where pods may run.
      environment: variables that the image sets in addition to `PATH` and `PYTHONPATH`.
      namespace: of the runs.
      default_root: `defaultPipelineRoot` of the ConfigMap kfp-launcher; None: not set.
      artifacts: keeps the metadata of artifacts.
      parallel: maximum number of pods at a time.
      sleep: waits the seconds between two attempts.
      on_pod: called with each pod that starts.
      start: starts a command with a working directory, an environment, and a file for what it
        prints.
    """

    store: Any
    folder: Path
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    claims: Mapping[str, Path] = field(default_factory=dict)
    nodes: Sequence[Node] = (CPU_NODE, GPU_NODE)
    environment: Mapping[str, str] = field(default_factory=dict)
    namespace: str = "kubeflow"
    default_root: str | None = None
    artifacts: ArtifactStore = field(default_factory=Mlmd)
    parallel: int = 2
    sleep: Callable[[float], None] = lambda _: None
    on_pod: Callable[[Pod], None] = lambda _: None
    start: Start = start_process
    _cache: dict[str, dict[str, Artifact]] = field(default_factory=dict)
    _ids: Iterable[int] = field(default_factory=lambda: itertools.count(1))

    def run(
        self,
        package: Path,
        parameters: Mapping[str, Any] | None = None,
        *,
        pipeline_root: str | None = None,
    ) -> dict[str, Step]:
        """Runs a compiled pipeline to its end.

        Args:
          package: the YAML file.
          parameters: runtime parameters; the others have their defaults.
          pipeline_root: of the run request; None takes the cluster's, never the package's.

        Returns:
          The result of each step, by the name of its task; those of sub-DAGs too.

        Raises:
          StepFailedError: a step failed in all its attempts. Exit tasks have run, too.
        """
        run = Run(self, package, parameters or {}, pipeline_root)
        run.finish()
        return run.steps

    def run_step(
        self,
        package: Path,
        name: str,
        made: Mapping[str, Mapping[str, Artifact]],
        parameters: Mapping[str, Any] | None = None,
        *,
        pipeline_root: str | None = None,
    ) -> Step:
        """Runs one step of a compiled pipeline.

        Args:
          package: the YAML file.
          name: the task.
          made: the outputs of the steps before it, by task.
          parameters: values of the runtime parameters.
          pipeline_root: see `run`.

        Returns:
          The result of the step.

        Raises:
          StepFailedError: it failed in all its attempts.
        """
        run = Run(self, package, dict(parameters or {}), pipeline_root)
        run.steps = {task: Step(outputs=dict(outputs)) for task, outputs in made.items()}
        return run.run_task(name, next(dag for dag in run.dags() if name in dag.tasks))

    def new_id(self) -> str:
        """A new artifact id."""
        return str(next(self._ids))


class Run:
    """One run of a pipeline."""

    def __init__(
        self,
        cluster: Cluster,
        package: Path,
        parameters: Mapping[str, Any],
        pipeline_root: str | None,
    ):
        spec, *platforms = yaml.safe_load_all(package.read_text(encoding="utf-8"))
        self.cluster = cluster
        self.spec = spec
        # Rejects invalid fields, as the API server does.
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        self.platform = _platform(platforms)
        self.parameters = _runtime_parameters(spec, parameters)
        root = pipeline_root or cluster.default_root or _BACKEND_ROOT
        self.namespace = cluster.namespace
        self.id = str(uuid.uuid4())
        # The workflow's name, and the run's as the user interface shows it.
        self.name = f"{spec['pipelineInfo']['name']}-{self.id[:5]}"
        self.display_name = f"Run of {spec['pipelineInfo']['name']}"
        self.root = f"{root}/{spec['pipelineInfo']['name']}/{self.id}"
        self.steps: dict[str, Step] = {}

    def finish(self) -> None:
        with ThreadPoolExecutor(self.cluster.parallel) as pods, ThreadPoolExecutor() as drivers:
            self._finish(self.root_dag(), pods, drivers)

    def root_dag(self) -> Dag:
        return Dag("root", self.spec["root"]["dag"]["tasks"], self.parameters)

    def dags(self) -> Iterator[Dag]:
        """All DAGs, with the values of their parameters."""
        waiting = [self.root_dag()]
        while waiting:
            yield (dag := waiting.pop())
            names = [name for name in dag.tasks if self._is_dag(dag.tasks[name])]
            waiting += [self._sub_dag(name, dag) for name in names]

    def _finish(self, dag: Dag, pods: Executor, drivers: Executor) -> None:
        """Runs the tasks of a DAG as Argo does, which starts no other once one has failed."""
        waiting = {name: task for name, task in dag.tasks.items() if not is_exit_task(task)}
        running: dict[Future[None], str] = {}
        failure: Exception | None = None
        while running or (waiting and failure is None):
            ready = [name for name in waiting if producers(waiting[name]) <= dag.done]
            for name in ready if failure is None else ():
                if self._is_dag(waiting.pop(name)):
                    running[drivers.submit(self._run_sub_dag, name, dag, pods, drivers)] = name
                else:
                    running[pods.submit(self._run_task, name, dag)] = name
            if not running:
                raise RuntimeError(f"{sorted(waiting)} wait for each other")
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                name = running.pop(future)
                failure = failure or future.exception()
                dag.done.add(name)
        if failure is not None:
            raise failure

    def _run_task(self, name: str, dag: Dag) -> None:
        self.steps[name] = self.run_task(name, dag)

    def _run_sub_dag(self, name: str, dag: Dag, pods: Executor, drivers: Executor) -> None:
        """Runs the DAG of a task, and then, whatever its outcome, the tasks that wait for it.

        These are lifecycle hooks of the task in Argo (`addExitTask` in
        backend/src/v2/compiler/argocompiler/common.go): they don't run if its driver has failed,
        the run waits for them, and their own outcome is not that of the run (`assessDAGPhase` in
        Argo's workflow/controller/dag.go looks at the tasks alone).
        """
        inner = self._sub_dag(name, dag)
        try:
            self._finish(inner, pods, drivers)
            inner.failure = None
        except StepFailedError as error:
            inner.failure = str(error)
            raise
        finally:
            for hook, task in dag.tasks.items():
                if is_exit_task(task) and name in producers(task):
                    with contextlib.suppress(StepFailedError):
                        self.steps[hook] = self.run_task(hook, dag, inner)

    def _is_dag(self, task: Mapping[str, Any]) -> bool:
        return "dag" in self.spec["components"][task["componentRef"]["name"]]

    def _sub_dag(self, name: str, dag: Dag) -> Dag:
        """A DAG, whose parameters are those of its task, and no others of the DAG around it."""
        task = dag.tasks[name]
        component = self.spec["components"][task["componentRef"]["name"]]
        declared = component.get("inputDefinitions", {}).get("parameters", {})
        values = {
            key: converted(
                f"{name}: {key}", self.value_of(source, dag), declared[key]["parameterType"]
            )
            for key, source in task.get("inputs", {}).get("parameters", {}).items()
        }
        return Dag(name, component["dag"]["tasks"], values)

    def value_of(self, source: Mapping[str, Any], dag: Dag, ended: Dag | None = None) -> Any:
        """A parameter, by `resolveInputParameter` in backend/src/v2/driver/resolve.go.

        Args:
          source: from the task's spec.
          dag: the DAG of the task.
          ended: for an exit task, the DAG that has ended.
        """
        if "componentInputParameter" in source:
            return dag.parameters[source["componentInputParameter"]]
        if "taskFinalStatus" in source:
            assert ended is not None
            assert ended.name == source["taskFinalStatus"]["producerTask"]
            return ended.final_status(self.name, is_mlmd=self.cluster.artifacts.is_mlmd)
        constant = source["runtimeValue"]["constant"]
        placeholders = {
            "{{$.pipeline_job_name}}": self.display_name,
            "{{$.pipeline_job_resource_name}}": self.name,
            "{{$.pipeline_job_uuid}}": self.id,
        }
        return placeholders.get(constant, constant) if isinstance(constant, str) else constant

    def run_task(self, name: str, dag: Dag, ended: Dag | None = None) -> Step:
        """Runs the pods of a task; `ended` is the DAG after which an exit task runs."""
        task = dag.tasks[name]
        component = self.spec["components"][task["componentRef"]["name"]]
        label = component["executorLabel"]
        container = self.spec["deploymentSpec"]["executors"][label]["container"]
        config = self.platform.executors.get(label, {})
        work = Work(self, name, task, component, container, _parsed(config), dag, ended)
        return work.done()


@dataclass
class Work:
    """A step to execute."""

    run: Run
    name: str
    task: Mapping[str, Any]
    component: Mapping[str, Any]
    container: Mapping[str, Any]
    config: Any
    dag: Dag
    ended: Dag | None = None

    def __post_init__(self) -> None:
        # The driver runs once, not once per attempt.
        self.uri = f"{self.run.root}/{self.name}/{self.run.cluster.new_id()}"
        self.inputs = {
            key: self.run.steps[source["producerTask"]].outputs[source["outputArtifactKey"]]
            for key, source in input_artifacts(self.task).items()
        }
        self.values = {
            key: self._value(key, source)
            for key, source in self.task.get("inputs", {}).get("parameters", {}).items()
        }

    def done(self) -> Step:
        cluster = self.run.cluster
        key = self._fingerprint()
        if self._may_be_cached() and key in cluster._cache:
            self.dag.set_state(self.name, "CACHED")
            return Step(outputs=cluster._cache[key])
        step = Step()
        started = time.monotonic()
        retries = _Retries(self.task.get("retryPolicy", {}))
        while (pod := self._attempt(len(step.pods) + 1, step)).process.returncode:
            # Waits may be simulated.
            elapsed = max(time.monotonic() - started, sum(step.waits))
            if (reason := retries.end_after(len(step.pods), elapsed)) is not None:
                raise StepFailedError(
                    f"{self.name} failed {len(step.pods)} times{reason}:\n{_log(pod)}"
                )
            step.waits.append(retries.wait_after(len(step.pods)))
            cluster.sleep(step.waits[-1])
        step.outputs = self._publish(pod)
        self.dag.publish(self.name, "COMPLETE")
        step.seconds = time.monotonic() - started
        if self._may_be_cached():
            cluster._cache[key] = step.outputs
        return step

    def _value(self, key: str, source: Mapping[str, Any]) -> Any:
        value = self.run.value_of(source, self.dag, self.ended)
        declared = self.component["inputDefinitions"]["parameters"][key]["parameterType"]
        return converted(f"{self.name}: {key}", value, declared)

    def _may_be_cached(self) -> bool:
        return self.task.get("cachingOptions", {}).get("enableCache", False)

    def _fingerprint(self) -> str:
        """`GenerateCacheKey` and `GetExecutionCache` in backend/src/v2/cacheutils/cache.go.

        Release 2.16 leaves the variables in `env` out of the key.
        """
        content = {
            "scope": [f"pipeline/{self.run.spec['pipelineInfo']['name']}", self.run.namespace],
            "artifacts": {key: identity(artifact) for key, artifact in self.inputs.items()},
            "parameters": self.values,
            "outputs": self.component.get("outputDefinitions"),
            "image": self.container["image"],
            "command": [*self.container["command"], *self.container["args"]],
            "claims": [mount.constant for mount in self.config.pvc_mount],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _attempt(self, attempt: int, step: Step) -> Pod:
        cluster = self.run.cluster
        folder = cluster.folder / self.run.id / f"{self.name}-{attempt}"
        (folder / "work").mkdir(parents=True)
        for artifact in self.inputs.values():
            _download(cluster.store, artifact["uri"], _mirror(folder, artifact["uri"]))
        for uri in [*self._output_uris(attempt).values(), self.uri]:
            _mirror(folder, uri).parent.mkdir(parents=True, exist_ok=True)
        self.dag.set_state(self.name, "RUNNING")
        process = cluster.start(
            self._command(folder, attempt),
            folder / "work",
            self._environment(folder),
            folder / "log",
        )
        pod = Pod(self.name, attempt, self._node().name, folder, process)
        step.pods.append(pod)
        cluster.on_pod(pod)
        if process.wait() == -signal.SIGKILL:
            return pod  # with its launcher, as when its node is lost: nothing more is heard of it
        # Whether it failed or not: `uploadOutputArtifacts` in launcher_v2.go.
        _upload(cluster.store, folder / "log", self._output_uris(attempt)[_LOGS])
        if process.returncode:
            self.dag.publish(self.name, "FAILED")
        return pod

    def _node(self) -> Node:
        accelerator = self.container.get("resources", {}).get("accelerator", {})
        device, count = accelerator.get("resourceType"), int(accelerator.get("resourceCount", 0))
        for node in self.run.cluster.nodes:
            if (
                dict(self.config.node_selector.labels).items() <= node.labels.items()
                and all(_is_tolerated(taint, self.config.tolerations) for taint in node.taints)
                and (not device or node.devices.get(device, 0) >= count)
            ):
                return node
        raise UnschedulableError(f"{self.name} fits none of {self.run.cluster.nodes}")

    def _outputs(self) -> dict[str, Mapping[str, str]]:
        """The type of each output."""
        declared = self.component.get("outputDefinitions", {}).get("artifacts", {})
        return {key: of["artifactType"] for key, of in declared.items()} | {_LOGS: _LOGS_TYPE}

    def _output_uris(self, attempt: int) -> dict[str, str]:
        # The launcher adds the number of retries to the URI of the logs.
        uris = {key: f"{self.uri}/{key}" for key in self._outputs()}
        return uris | {_LOGS: f"{self.uri}/{_LOGS}-{attempt - 1}"}

    def _output_file(self, folder: Path) -> Path:
        return _mirror(folder, self.uri) / "output_metadata.json"

    def _executor_input(self, folder: Path, attempt: int) -> str:
        outputs = self._outputs()
        message = {
            "inputs": {
                "parameterValues": self.values,
                "artifacts": {key: {"artifacts": [found]} for key, found in self.inputs.items()},
            },
            "outputs": {
                "artifacts": {
                    key: {"artifacts": [{"name": key, "uri": uri, "type": outputs[key]}]}
                    for key, uri in self._output_uris(attempt).items()
                },
                "outputFile": str(self._output_file(folder)),
            },
        }
        # The released message has no artifactId, which is in that of the branch without MLMD.
        json_format.ParseDict(
            message, pipeline_spec_pb2.ExecutorInput(), ignore_unknown_fields=self._has_ids()
        )
        return json.dumps(message)

    def _has_ids(self) -> bool:
        return any("artifactId" in artifact for artifact in self.inputs.values())

    def _command(self, folder: Path, attempt: int) -> list[str]:
        sides = {
            "inputs": {key: artifact["uri"] for key, artifact in self.inputs.items()},
            "outputs": self._output_uris(attempt),
        }
        placeholders = parameter_placeholders(self.values)
        for side, uris in sides.items():
            local = {key: str(_mirror(folder, uri)) for key, uri in uris.items()}
            placeholders |= artifact_placeholders(side, uris, local)
        words = [*self.container["command"], *self.container["args"]]
        return compiled(words, self._executor_input(folder, attempt), placeholders)

    def _environment(self, folder: Path) -> dict[str, str]:
        cluster = self.run.cluster
        for mount in self.config.pvc_mount:
            if cluster.claims.get(mount.constant) != Path(mount.mount_path):
                raise UnschedulableError(f"{self.name}: no claim {mount.constant} to mount")
        secrets = {
            key.env_var: value
            for secret in self.config.secret_as_env
            for key in secret.key_to_env
            if (value := self._secret(secret, key.secret_key)) is not None
        }
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPATH": str(PROJECT),
            "HOME": str(folder),
            "OUTNUMBERED_LAUNCHER_ROOT": str(folder),
            **cluster.environment,
            **{item["name"]: item["value"] for item in self.container.get("env", [])},
            **secrets,
        }

    def _secret(self, secret: Any, key: str) -> str | None:
        value = self.run.cluster.secrets.get(secret.secret_name, {}).get(key)
        if value is None and not secret.optional:
            # Kubernetes waits for it, and Argo for the pod.
            raise UnschedulableError(f"{self.name}: no key {key} in {secret.secret_name}")
        return value

    def _publish(self, pod: Pod) -> dict[str, Artifact]:
        """Uploads the outputs, and stores the metadata that the backend stores."""
        file = self._output_file(pod.folder)
        written = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        json_format.ParseDict(written, pipeline_spec_pb2.ExecutorOutput())
        return {
            key: self._published(pod, key, planned, written)
            for key, planned in self._output_uris(pod.attempt).items()
        }

    def _published(self, pod: Pod, key: str, planned: str, written: Mapping[str, Any]) -> Artifact:
        cluster = self.run.cluster
        first = written.get("artifacts", {}).get(key, {}).get("artifacts", [{}])[0]
        uri = first.get("uri", planned)
        # `retrieveArtifactPath` in launcher_v2.go.
        local = first.get("customPath", first.get("custom_path"))
        if key != _LOGS:
            _upload(cluster.store, Path(local) if local else _mirror(pod.folder, uri), uri)
        return cluster.artifacts.put(key, self._outputs()[key], uri, first.get("metadata", {}))


class _Retries:
    """Argo's retries: `processNodeRetries` in workflow/controller/operator.go.

    The longest duration counts from the start of the first attempt. A factor that is no whole
    number is an error there, since it is an IntOrString in Argo's API.
    """

    def __init__(self, policy: Mapping[str, Any]):
        self._count = policy.get("maxRetryCount", 0)
        self._first = _seconds(policy.get("backoffDuration", "0s"))
        factor = policy.get("backoffFactor", 1.0)
        if factor != int(factor):
            raise ValueError(f"backoffFactor must be a whole number. Received: {factor}")
        self._factor = int(factor)
        # Without it KFP's compiler writes 0, which allows no retry.
        self._longest = _seconds(policy.get("backoffMaxDuration", "0s"))

    def wait_after(self, attempt: int) -> float:
        return float(self._first * self._factor ** (attempt - 1))

    def end_after(self, attempt: int, elapsed: float) -> str | None:
        """Why there is no further attempt after `elapsed` seconds; None if there is one."""
        if attempt > self._count:
            return ""
        if elapsed > self._longest:
            return " (max duration limit exceeded)"
        if elapsed + self.wait_after(attempt) > self._longest:
            return " (backoff would exceed max duration limit)"
        return None


def _is_tolerated(taint: str, tolerations: Iterable[Any]) -> bool:
    """Whether one of a pod's tolerations matches a taint, as Kubernetes compares them."""
    key, _, value = taint.partition("=")
    return any(
        each.key in ("", key)
        and (each.operator == "Exists" or each.value == value)
        and each.effect in ("", "NoSchedule")
        for each in tolerations
    )


@dataclass(frozen=True)
class _Platform:
    executors: Mapping[str, Any]


def _platform(documents: Sequence[Any]) -> _Platform:
    if not documents:
        return _Platform({})
    (document,) = documents
    return _Platform(document["platforms"]["kubernetes"]["deploymentSpec"]["executors"])


def _parsed(config: Mapping[str, Any]) -> Any:
    message = kubernetes_executor_config_pb2.KubernetesExecutorConfig()
    return json_format.ParseDict(config, message)


def _runtime_parameters(spec: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    if unknown := given.keys() - declared.keys():
        raise ValueError(f"the pipeline has no parameters {sorted(unknown)}")
    values = {}
    for name, parameter in declared.items():
        value = given.get(name, parameter.get("defaultValue"))
        if not has_kind(value, parameter["parameterType"]):
            raise TypeError(f"{name}: must be {parameter['parameterType']}. Received: {value!r}")
        values[name] = value
    return values


def _seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))


def _log(pod: Pod) -> str:
    return (pod.folder / "log").read_text(encoding="utf-8", errors="replace")[-6000:]


def _mirror(folder: Path, uri: str) -> Path:
    scheme, _, rest = uri.partition("://")
    return folder / _MIRRORS[f"{scheme}://"] / rest


def _bucket(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.partition("://")[2].partition("/")
    return bucket, key


def _download(store: Any, uri: str, path: Path) -> None:
    """`DownloadBlob` in backend/src/v2/objectstore/object_store.go of release 2.16.

    It lists by prefix, so `model` also gets `model_run/a`, which lands beside the folder.
    """
    bucket, key = _bucket(uri)
    listed = store.list_objects_v2(Bucket=bucket, Prefix=key)
    assert not listed["IsTruncated"], f"more files under {uri} than the harness can list"
    for entry in listed.get("Contents", []):
        target = Path(os.path.normpath(path / os.path.relpath(entry["Key"], key)))
        target.parent.mkdir(parents=True, exist_ok=True)
        store.download_file(bucket, entry["Key"], str(target))


def _upload(store: Any, path: Path, uri: str) -> None:
    bucket, key = _bucket(uri)
    if path.is_file():
        store.upload_file(str(path), bucket, key)
        return
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder, name)
            store.upload_file(str(file), bucket, f"{key}/{file.relative_to(path)}")
