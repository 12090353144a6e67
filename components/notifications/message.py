"""What is told about a run: as data with a versioned schema, and in words. Pure functions."""

import datetime
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from components.messages import cut
from components.notifications.settings import RUN, Outcome

SCHEMA_VERSION: Literal[1] = 1
"""Raised when a field is removed or changes its meaning; new fields may be added without."""

_LONGEST_REASON = 1000
_MOST_FAILURES = 5
_VERDICTS = {True: "Blessed: ", False: "Not blessed: ", None: ""}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Failure(_Part):
    """A step that failed."""

    step: str | None = Field(default=None, description="Its name; null: unknown.")
    reason: str = Field(description="Why, in words.")


class RunReference(_Part):
    """A run."""

    id: str = Field(description="Its id; on one machine the name of its folder.")
    name: str = Field(description="Its name.")
    link: str | None = Field(default=None, description="Its page; null: no link is known.")


class Notification(_Part):
    """How a run ended."""

    schema_version: Literal[1] = Field(
        default=SCHEMA_VERSION, description="Version of this schema; new keys do not raise it."
    )
    outcome: Outcome = Field(
        description=(
            "failed; not_blessed: the model failed its gates; pushed: a new version is in the "
            "registry; finished: neither, as of a study or a model that was there before."
        )
    )
    pipeline: str = Field(description="Name of the pipeline or study.")
    run: RunReference
    failures: tuple[Failure, ...] = Field(default=(), description="The steps that failed.")
    blessed: bool | None = Field(
        default=None, description="Whether the model passed its gates; null: not known, or none."
    )
    reason: str | None = Field(
        default=None, description="Why it was blessed or not, or why that is not known, in words."
    )
    version: int | None = Field(default=None, description="Number of the pushed version.")
    model: str | None = Field(default=None, description="Path or URI of the pushed version.")
    sent_at: datetime.datetime = Field(description="In UTC.")

    def as_json(self) -> dict[str, Any]:
        """Returns it as a JSON object, with the title and the words."""
        return {**self.model_dump(mode="json"), "title": title(self), "text": text(self)}


def link_to(pattern: str | None, run: str) -> str | None:
    """Returns the link to a run.

    Args:
      pattern: in which `{run}` stands for the run's id; None: there is no link.
      run: the id.
    """
    return None if pattern is None else pattern.replace(RUN, run)


def title(notification: Notification) -> str:
    """Returns how a run ended, on one line."""
    return f"{notification.pipeline}: {_outcome(notification)}"


def text(notification: Notification) -> str:
    """Returns how a run ended and why, on some lines, the last of which is the link."""
    return "\n".join([title(notification), *details(notification), *_link(notification)])


def details(notification: Notification) -> list[str]:
    """Returns the lines between the title and the link."""
    return [f"Run: {notification.run.name}", *_reasons(notification)]


def _outcome(notification: Notification) -> str:
    match notification.outcome:
        case "failed":
            steps = [failure.step for failure in notification.failures if failure.step]
            return f"the run failed in {_listed(steps)}" if steps else "the run failed"
        case "not_blessed":
            return "the model was NOT blessed"
        case "pushed":
            return f"version {notification.version} was pushed"
    if notification.version is None:
        return "the run is finished"
    return f"the run is finished, and its model is version {notification.version} already"


def _reasons(notification: Notification) -> Iterator[str]:
    for failure in notification.failures[:_MOST_FAILURES]:
        reason = shortened(failure.reason)
        has_name = failure.step is None or reason.startswith(failure.step)
        yield reason if has_name else f"{failure.step}: {reason}"
    if (more := len(notification.failures) - _MOST_FAILURES) > 0:
        yield f"… and {more:,} more"
    if notification.reason:
        yield f"{_VERDICTS[notification.blessed]}{shortened(notification.reason)}"
    if notification.model:
        yield f"Model: {notification.model}"


def _link(notification: Notification) -> Iterable[str]:
    return [notification.run.link] if notification.run.link else []


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_FAILURES])
    return shown if len(names) <= _MOST_FAILURES else f"{shown} and others"


def shortened(reason: str) -> str:
    """Returns a reason on one line; the middle of a long one is left out."""
    return cut(" ".join(reason.split()), _LONGEST_REASON)
