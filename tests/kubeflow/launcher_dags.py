"""DAGs of tasks, and their states, as the backend of Kubeflow Pipelines keeps them."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_EXIT = "ALL_UPSTREAM_TASKS_COMPLETED"


@dataclass
class Dag:
    """The DAG of the whole pipeline, or that of a task.

    Attributes:
      name: of the task; `root` for the whole pipeline.
      tasks: their specs, by name.
      parameters: values of its own parameters, the only ones that its tasks can refer to.
      done: names of its tasks that have ended.
      state: its own, in ML Metadata.
      failure: why it failed; empty while it has not ended.
    """

    name: str
    tasks: Mapping[str, Any]
    parameters: Mapping[str, Any]
    done: set[str] = field(default_factory=set)
    state: str = "RUNNING"
    failure: str | None = ""
    _states: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def set_state(self, task: str, state: str) -> None:
        """Sets the state of a task, as a driver does, which leaves that of the DAG as it is."""
        with self._lock:
            self._states[task] = state

    def publish(self, task: str, state: str) -> None:
        """Sets the state of a task, as a launcher does at its end.

        It then sets that of the DAG: `UpdateDAGExecutionsState` in
        backend/src/v2/metadata/client.go.
        """
        self.set_state(task, state)
        with self._lock:
            states = list(self._states.values())
            if sum(each in {"COMPLETE", "CACHED"} for each in states) == len(self.tasks):
                self.state = "COMPLETE"
            elif "FAILED" in states:
                self.state = "FAILED"

    def final_status(self, run: str, *, is_mlmd: bool) -> dict[str, Any]:
        """The PipelineTaskFinalStatus of its task, once it has ended, as JSON.

        In release 2.16 `resolveInputParameter` in backend/src/v2/driver/resolve.go takes the state
        that ML Metadata has, without a message. On the branch without it, `taskStatusAtExit` in
        backend/src/v2/driver/resolver/exit_status.go takes Argo's, with a message.
        """
        status = {"pipelineTaskName": self.name, "pipelineJobResourceName": run}
        if is_mlmd:
            return {**status, "state": self.state, "error": {}}
        if self.failure is None:
            return {**status, "state": "SUCCEEDED", "error": {}}
        message = f'Task "{self.name}" ended with Argo status Failed.'
        return {**status, "state": "FAILED", "error": {"message": message}}


def is_exit_task(task: Mapping[str, Any]) -> bool:
    """Whether a task waits for the end of others, whatever their outcome."""
    return bool(task.get("triggerPolicy", {}).get("strategy") == _EXIT)


def input_artifacts(task: Mapping[str, Any]) -> dict[str, Any]:
    """Where the artifacts of a task come from, by its keys."""
    artifacts = task.get("inputs", {}).get("artifacts", {})
    return {key: source["taskOutputArtifact"] for key, source in artifacts.items()}


def producers(task: Mapping[str, Any]) -> set[str]:
    """The tasks of the same DAG that a task waits for."""
    made = {source["producerTask"] for source in input_artifacts(task).values()}
    return made | set(task.get("dependentTasks", []))
