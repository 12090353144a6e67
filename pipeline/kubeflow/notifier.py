"""The exit step of a run: tells how it ended. It never fails: the run's own outcome stands.

    python -m pipeline.kubeflow.notifier --executor_input '{{$}}' --notifications '{…}' …

Imports neither TFX nor TensorFlow.
"""

import argparse
import datetime
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.notifications.limited import limited
from components.notifications.message import Notification, RunReference, link_to, text
from components.notifications.notify import notify
from components.notifications.settings import Notifications
from components.stores import store_of
from pipeline.kubeflow.exit_handler import NOTIFICATION, STEP
from pipeline.kubeflow.run_outcome import RunOutcome, StoredFile, outcome_of, without_files
from pipeline.tfx_on_kubeflow import failure
from pipeline.tfx_on_kubeflow.entrypoint import local_path

ENTRYPOINT = ("python", "-m", "pipeline.kubeflow.notifier")
EXECUTOR_INPUT = "{{$}}"
STORE_SECONDS = 120.0
"""Time in which the files of a run must be read."""

_MINIO, _S3 = "minio://", "s3://"


def arguments(
    pipeline: str, notifications: Notifications, link: str | None, last_steps: Sequence[str]
) -> list[str]:
    """Returns the arguments of the step's command.

    Args:
      pipeline: its name.
      notifications: the settings.
      link: a link to a run, in which `{run}` stands for its id; None: there is none.
      last_steps: see `outcome_of`.
    """
    return [
        *("--executor_input", EXECUTOR_INPUT),
        *("--pipeline", pipeline),
        *("--notifications", notifications.model_dump_json()),
        *("--last_steps", json.dumps(list(last_steps))),
        *(("--link", link) if link else ()),
    ]


def run(command_line: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Tells how the run ended, and writes the message as the step's output.

    Returns:
      A warning per receiver that did not get it.
    """
    parser = argparse.ArgumentParser(prog="notifier", allow_abbrev=False)
    parser.add_argument("--executor_input", required=True, type=json.loads)
    parser.add_argument("--pipeline", required=True)
    parser.add_argument("--notifications", required=True)
    parser.add_argument("--last_steps", default=[], type=json.loads)
    parser.add_argument("--link")
    given = parser.parse_args(command_line)
    inputs = given.executor_input["inputs"]["parameterValues"]
    output = _output(given.executor_input)
    run_id = inputs["run_id"]
    ended = _outcome(inputs.get("status") or {}, output, run_id, given.last_steps)
    notification = Notification(
        outcome=ended.outcome,
        pipeline=given.pipeline,
        run=RunReference(id=run_id, name=inputs["run_name"], link=link_to(given.link, run_id)),
        failures=ended.failures,
        sent_at=datetime.datetime.now(datetime.UTC),
        **ended.facts(),
    )
    print(text(notification), flush=True)
    _write(notification, output)
    settings = Notifications.model_validate_json(given.notifications)
    return notify(settings, notification, environment)


def _output(executor_input: Mapping[str, Any]) -> str:
    (artifact,) = executor_input["outputs"]["artifacts"][NOTIFICATION]["artifacts"]
    return str(artifact["uri"])


def _outcome(
    status: Mapping[str, Any], output: str, run_id: str, last_steps: Sequence[str]
) -> RunOutcome:
    """How the run ended, by the files next to this step's output: ROOT/PIPELINE/RUN/STEP/…"""
    root, run, _ = output.partition(f"/{run_id}/")
    folder = root.replace(_MINIO, _S3, 1) + run

    def read() -> RunOutcome:
        store = store_of(folder)
        if not run or store is None:
            raise ValueError(f"{output} is not in a store of the run {run_id}")
        files = [
            StoredFile(found.path.removeprefix(folder), found.size_in_bytes)
            for found in store.each_below(folder)
            if not found.path.startswith(f"{folder}{STEP}/")  # of an attempt before this one
        ]
        return outcome_of(status, files, lambda path: store.read(folder + path), last_steps)

    try:
        return limited(read, STORE_SECONDS)
    except Exception as error:  # of any store: what is known is told
        return without_files(status, str(error) or type(error).__name__)


def _write(notification: Notification, output: str) -> None:
    path = Path(local_path(output))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notification.as_json(), indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Runs the step and ends the process, whose exit code is 0."""
    try:
        warnings = run(sys.argv[1:], os.environ)
    except (Exception, SystemExit) as error:
        warnings = [f"nobody was told about the run ({type(error).__name__}: {error})"]
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if warnings:
        failure.write("\n".join(warnings))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads may wait for a server that does not answer


if __name__ == "__main__":
    main()
