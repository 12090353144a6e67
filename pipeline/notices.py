"""Tells how a run on this machine ended, to whom the settings say. Imports no TensorFlow."""

import contextlib
import datetime
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.notifications.message import Failure, Notification, RunReference, link_to
from components.notifications.settings import Outcome
from pipeline.study.settings import AnySettings
from pipeline.terminal import print_note, visible

if TYPE_CHECKING:
    from pipeline.local import RunResult
    from pipeline.study.run import StudyResult


@contextlib.contextmanager
def failures_told(settings: AnySettings) -> Iterator[None]:
    """A context whose errors are told before they leave it; Ctrl-C and SIGTERM are not."""
    try:
        yield
    except Exception as error:
        folder = getattr(error, "folder", None)
        failure = Failure(step=getattr(error, "step", None), reason=_words(error))
        _tell(settings, "failed", folder, failures=(failure,))
        raise


def tell_result(settings: AnySettings, result: "RunResult") -> None:
    """Tells the verdict of a finished run."""
    metrics = result.metrics
    pushed = metrics["pushed_model"]
    outcome: Outcome = "not_blessed"
    version = None
    if pushed:
        outcome, version = "pushed", int(pushed.rpartition("/")[2])
    verdict = {"blessed": metrics["blessed"], "reason": metrics["reason"]}
    _tell(settings, outcome, result.folder, **verdict, version=version, model=pushed)


def tell_study(settings: AnySettings, result: "StudyResult") -> None:
    """Tells that a study is finished."""
    _tell(settings, "finished", result.folder)


def _tell(settings: AnySettings, outcome: Outcome, folder: Path | None, **facts: Any) -> None:
    """Tells it, and prints what was not delivered."""
    receivers = settings.notifications
    if receivers.is_off():
        return
    from components.notifications.notify import notify

    identity = folder.name if folder else ""
    link = link_to(receivers.link, identity) if folder else None
    notification = Notification(
        outcome=outcome,
        pipeline=settings.name,
        run=RunReference(id=identity, name=str(folder or "not begun"), link=link),
        sent_at=datetime.datetime.now(datetime.UTC),
        **facts,
    )
    for warning in notify(receivers, notification, os.environ):
        print_note(f"warning: {warning}")


def _words(error: Exception) -> str:
    # Such as bytes of a file's name, which can't be sent.
    return visible(str(error) or type(error).__name__, keep="\n")
