"""The served version of the model together with its reading rules."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from components.images.rules import ReadingRules, RulesError
from gateway.periodic import repeat
from gateway.pointer import ServingPointer
from gateway.reading import has_score, load_rules
from gateway.upstream import ModelServer, UpstreamError

_log = logging.getLogger("gateway")


@dataclass(frozen=True)
class ServedVersion:
    """A version of the model that can serve predictions.

    Attributes:
      version: its number in the registry.
      rules: its reading rules.
      has_score: whether it returns its score and the need for a review.
    """

    version: int
    rules: ReadingRules
    has_score: bool


class ServedModel:
    """The version that the model server serves, looked up periodically.

    Attributes:
      current: the version; None before the first is found, or if its rules cannot be read. A
        server that does not respond leaves it unchanged: the next prediction request shows
        whether the server is back.
      fault: why the last look-up failed; empty if it succeeded.
    """

    def __init__(
        self,
        server: ModelServer,
        folder: Path,
        on_change: Callable[[int | None], None],
        pointer: ServingPointer | None = None,
    ):
        """Stores its parts; looks nothing up.

        Args:
          server: the model server.
          folder: folder with one folder per version.
          on_change: called with each new version, or None if no version can be served.
          pointer: knows the version to serve while the model server has several; without it, this
            is the newest.
        """
        self._server, self._folder, self._on_change = server, folder, on_change
        self._pointer = pointer
        self.current: ServedVersion | None = None
        self.fault = "the served version has not been looked up yet"

    async def follow(self, seconds: float) -> None:
        """Looks up the version every `seconds` seconds until it is cancelled."""
        await repeat(self.refresh, seconds, self._set_unknown)

    async def refresh(self) -> None:
        """Looks up the served version and loads the reading rules of a new one."""
        try:
            version = self._choose((await self._server.versions()).available)
            found = None if version is None else await self._load(version)
            fault = self._why_none("has no version of the model") if found is None else ""
        except UpstreamError as error:
            found, fault = self.current, f"the model server does not respond ({error.code})"
            if error.code == "NOT_FOUND":
                found, fault = None, self._why_none("has no such model")
        except RulesError as error:
            found, fault = None, str(error)
        self._update(found, fault)

    def _choose(self, available: frozenset[int]) -> int | None:
        configured = self._pointer.configured if self._pointer else None
        return configured if configured in available else max(available, default=None)

    def _why_none(self, what: str) -> str:
        fault = self._pointer.fault if self._pointer else None
        text = "; the registry's version is not served ({}), see the log"
        return f"the model server {what}" + (text.format(fault.reason.value) if fault else "")

    def _set_unknown(self) -> None:
        self.fault = "the last look-up of the served version failed; see the log"

    async def _load(self, version: int) -> ServedVersion:
        if self.current and self.current.version == version:
            return self.current
        rules = await asyncio.to_thread(load_rules, self._folder, version)
        return ServedVersion(
            version, rules, await asyncio.to_thread(has_score, self._folder, version)
        )

    def _update(self, found: ServedVersion | None, fault: str) -> None:
        if fault and fault != self.fault:
            _log.warning("not ready: %s", fault)
        if found != self.current:
            _log.info("serving version %s", found.version if found else None)
            self._on_change(found.version if found else None)
        self.current, self.fault = found, fault
