"""Which model is served, and the rules that its images are read by: always of one version."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from components.images.rules import ReadingRules, RulesError
from gateway.reading import load_rules
from gateway.upstream import ModelServer, UpstreamError

_log = logging.getLogger("gateway")


@dataclass(frozen=True)
class Served:
    """A model that can be asked.

    Attributes:
      version: its number in the registry.
      rules: how its images are read.
    """

    version: int
    rules: ReadingRules


class ServedModel:
    """The newest version that the model server has, looked up periodically.

    Attributes:
      current: that version; None before the first is found, or where its rules cannot be read.
      fault: why the last look-up found none; empty if it found one. A server that does not
        answer leaves `current` as it was: the next request for verdicts shows whether it is back.
    """

    def __init__(
        self, server: ModelServer, registry: Path, on_change: Callable[[int | None], None]
    ):
        """Looks nothing up yet.

        Args:
          server: the model server.
          registry: the folder with a folder for each version.
          on_change: is told each new version, and None where there is none to ask.
        """
        self._server, self._registry, self._on_change = server, registry, on_change
        self.current: Served | None = None
        self.fault = "the model server was not asked yet"

    async def follow(self, seconds: float) -> None:
        """Looks up the version every few seconds, until it is cancelled."""
        while True:
            try:
                await self.refresh()
            except Exception:  # whatever it is, the next look-up may find the model again
                _log.exception("looking up the served version")
                self.fault = "the last look-up of the served version failed; the log says why"
            await asyncio.sleep(seconds)

    async def refresh(self) -> None:
        """Looks up which version is served, and reads its rules if it is a new one."""
        try:
            version = await self._server.available_version()
            found = None if version is None else await self._with_rules(version)
            fault = "the model server has no version of the model" if found is None else ""
        except UpstreamError as error:
            found, fault = self.current, f"the model server does not answer ({error.code})"
            if error.code == "NOT_FOUND":
                found, fault = None, "the model server has no such model"
        except RulesError as error:
            found, fault = None, str(error)
        self._settle(found, fault)

    async def _with_rules(self, version: int) -> Served:
        if self.current and self.current.version == version:
            return self.current
        return Served(version, await asyncio.to_thread(load_rules, self._registry, version))

    def _settle(self, found: Served | None, fault: str) -> None:
        if fault and fault != self.fault:
            _log.warning("not ready: %s", fault)
        if found != self.current:
            _log.info("serves version %s", found.version if found else None)
            self._on_change(found.version if found else None)
        self.current, self.fault = found, fault
