"""Registers pushed versions with the servers of the settings, softly: what fails is reported."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from components.messages import cut
from components.registry import Registry
from components.tracking.facts import TrackedVersion, tracked
from components.tracking.mlflow_sender import MLflowSender
from components.tracking.model_registry_sender import ModelRegistrySender
from components.tracking.settings import Tracking, check_installed

_LONGEST = 500

_logger = logging.getLogger("outnumbered.tracking")


class Sender(Protocol):
    """Registers versions with one server; each call can be repeated."""

    name: str

    def connected(self) -> AbstractContextManager[None]:
        """Returns a context in which the other calls are made."""

    def register(self, version: TrackedVersion) -> None:
        """Registers a version, unless it is there."""

    def serve(self, version: TrackedVersion) -> None:
        """Marks a registered version as the one that serves."""


@dataclass(frozen=True)
class Outcome:
    """What became of the versions at one server.

    Attributes:
      server: its name, for messages.
      problem: why it failed; None if all is registered.
    """

    server: str
    problem: str | None


def track(
    registry: Registry, tracking: Tracking, title: str, versions: Sequence[int]
) -> list[Outcome]:
    """Registers versions, and marks the one that serves, with every server of the settings.

    What is registered is not registered again, so it can be repeated at any time.

    Args:
      registry: has the versions.
      tracking: the servers.
      title: name of the pipeline, for names that the settings leave open.
      versions: numbers of the versions; the one that serves is added.

    Returns:
      The outcome per server. A failure is no error, since the registry decides what serves.

    Raises:
      RegistryError: the registry can't be read, or a version is not in it.
      InputError: the client of a server is not installed.
    """
    senders = _senders(tracking, title)
    if not senders:
        return []
    check_installed(tracking)
    serving = registry.serving()
    numbers = sorted({*versions, *([serving] if serving is not None else [])})
    found = {each: tracked(registry.record(each), registry.uri(each)) for each in numbers}
    serves = found[serving] if serving is not None else None
    return [_send(sender, list(found.values()), serves) for sender in senders]


def _senders(tracking: Tracking, title: str) -> list[Sender]:
    timeout = tracking.timeout_seconds
    senders: list[Sender] = []
    if tracking.mlflow:
        senders.append(MLflowSender(tracking.mlflow, title, timeout))
    if tracking.model_registry:
        senders.append(ModelRegistrySender(tracking.model_registry, title, timeout))
    return senders


def _send(
    sender: Sender, versions: Sequence[TrackedVersion], serving: TrackedVersion | None
) -> Outcome:
    try:
        with sender.connected():
            for version in versions:
                sender.register(version)
            if serving is not None:
                sender.serve(serving)
    except Exception as error:  # of any library of a client: the push stands, whatever it is
        _logger.debug("tracking failed", exc_info=True)
        text = " ".join(str(error).split()) or type(error).__name__
        return Outcome(sender.name, cut(text, _LONGEST))
    return Outcome(sender.name, None)


def warning(outcome: Outcome, done: str) -> str:
    """Returns the warning about a failure.

    Args:
      outcome: the failure.
      done: what stands nevertheless, such as `version 7 is pushed`.
    """
    return (
        f"{done}, but it is not registered with {outcome.server}: {outcome.problem}. Register it "
        "once the server answers: `outnumbered models track`, with the settings of the run"
    )
