"""Makes the model server serve the version to which the registry points.

The registry's `registry.json` is looked up periodically. A version is checked, its reading rules
included, before it is written to the model server's config. If anything is wrong with it, the
config keeps the version before, a log line and a metric say why, and it is tried again: at the next
look-up if it could not be read, and after longer and longer pauses if it was read and refused.
"""

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from components.images.rules import RulesError
from components.registry import Registry, RegistryError
from gateway.metrics import FaultReason, Metrics
from gateway.model_config import config_text, write_config
from gateway.periodic import repeat
from gateway.reading import has_score, load_rules
from gateway.settings import Settings
from gateway.upstream import ModelServer, UpstreamError, Versions

_INCOMING = ".incoming"
_LONGEST_PAUSE_SECONDS = 3600.0
# What is wrong with the version itself, and not with the way to it.
_REFUSALS = frozenset({FaultReason.REFUSED, FaultReason.RULES})

_log = logging.getLogger("gateway")


class Fault(NamedTuple):
    """Why the version to which the registry points is not served.

    Attributes:
      reason: for the metric.
      message: for the log.
    """

    reason: FaultReason
    message: str


@dataclass(frozen=True)
class _Refusal:
    """A version that was read and refused.

    Attributes:
      version: its number.
      fault: why.
      pause: seconds until it is read again.
      until: the time of the clock at which the pause ends.
    """

    version: int
    fault: Fault
    pause: float
    until: float


class ServingPointer:
    """Follows the registry's pointer and writes the model server's config.

    Attributes:
      configured: the version in the config; None until one was checked.
      fault: why the version to which the registry points is not served; None if it is, or if the
        registry has no version.
    """

    def __init__(
        self,
        registry: Registry,
        server: ModelServer,
        settings: Settings,
        config: Path,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Stores its parts; looks nothing up.

        Args:
          registry: the model registry.
          server: the model server, whose versions' files must not be removed.
          settings: name of the model, and where its versions are.
          config: the model server's config.
          metrics: records the pointer and the fault.
          clock: the time, in seconds.
        """
        self._registry, self._server, self._metrics = registry, server, metrics
        self._name, self._folder, self._config = (
            settings.model_name,
            settings.versions_folder,
            config,
        )
        self._has_copies = settings.models is not None
        self._first_pause, self._clock = settings.registry_poll_seconds, clock
        self._unloadable: int | None = None
        self._refusal: _Refusal | None = None
        self.configured: int | None = None
        self.fault: Fault | None = None

    async def follow(self, seconds: float) -> None:
        """Follows the pointer, with a look-up every `seconds` seconds, until it is cancelled."""
        unexpected = Fault(FaultReason.OTHER, "following the registry failed; see the log")
        await repeat(self.refresh, seconds, lambda: self._set_fault(unexpected))

    async def refresh(self) -> None:
        """Looks up the pointer, and configures its version if it is another one and intact."""
        versions = await self._versions()
        try:
            with _faults():
                version = await asyncio.to_thread(self._registry.serving)
                self._metrics.set_registry_version(version)
                if version is not None:
                    await self._serve(version, versions)
        except _FaultError as error:
            self._set_fault(error.fault)
        else:
            self._set_fault(None)
        if self._has_copies and self.configured in versions.available:
            await asyncio.to_thread(self._remove_copies, versions.loaded)

    async def _versions(self) -> Versions:
        """Returns the model server's versions; none while it does not respond."""
        try:
            return await self._server.versions()
        except UpstreamError:
            return Versions()

    async def _serve(self, version: int, versions: Versions) -> None:
        if version == self.configured and version in versions.failed and versions.available:
            # So that a model server that restarts starts with the version that it still serves.
            self._unloadable, self.configured = version, max(versions.available)
        if version == self._unloadable:
            await asyncio.to_thread(self._write_config)
            message = f"the model server can't load version {version}; see its log"
            raise _FaultError(Fault(FaultReason.LOAD, message))
        if self._refusal and self._refusal.version != version:
            self._refusal = None
        if version != self.configured:
            await self._prepare_unless_refused(version)
            _log.info("version %d of the registry is intact; it is served from now on", version)
        self._unloadable, self.configured = None, version
        await asyncio.to_thread(self._write_config)

    async def _prepare_unless_refused(self, version: int) -> None:
        """Prepares a version; one that was refused is read again only after a pause."""
        if self._refusal and self._clock() < self._refusal.until:
            raise _FaultError(self._refusal.fault)
        try:
            with _faults():
                await asyncio.to_thread(self._prepare, version)
        except _FaultError as error:
            if error.fault.reason in _REFUSALS:
                self._refusal = self._refused(version, error.fault)
            raise
        self._refusal = None

    def _refused(self, version: int, fault: Fault) -> _Refusal:
        pause = 2 * self._refusal.pause if self._refusal else self._first_pause
        pause = min(pause, _LONGEST_PAUSE_SECONDS)
        return _Refusal(version, fault, pause, self._clock() + pause)

    def _prepare(self, version: int) -> None:
        """Puts a checked version into the folder from which the model server loads it."""
        target = self._folder / str(version)
        if not (self._has_copies and target.exists()):
            incoming = self._folder / _INCOMING
            if self._has_copies:
                shutil.rmtree(incoming, ignore_errors=True)
            found = self._registry.fetch(version, incoming)
            if self._has_copies:
                found.rename(target)  # atomic: a version in the folder is complete
        load_rules(self._folder, version)
        has_score(self._folder, version)

    def _write_config(self) -> None:
        assert self.configured is not None
        text = config_text(self._name, self._folder, self.configured)
        if write_config(self._config, text):
            _log.info("wrote version %d to the model server's config", self.configured)

    def _remove_copies(self, loaded: frozenset[int]) -> None:
        """Removes the copies of versions that the model server has unloaded."""
        kept = {str(version) for version in {*loaded, self.configured}}
        for path in self._folder.iterdir():
            if path.name.isdecimal() and path.name not in kept:
                shutil.rmtree(path)
                _log.info("removed the copy of version %s", path.name)

    def _set_fault(self, fault: Fault | None) -> None:
        if fault and fault != self.fault:
            _log.warning("the registry's version is not served: %s", fault.message)
        self._metrics.set_registry_fault(fault.reason if fault else None)
        self.fault = fault


class _FaultError(Exception):
    def __init__(self, fault: Fault):
        super().__init__(fault.message)
        self.fault = fault


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    """Raises expected errors with their reason for the metric."""
    try:
        yield
    except RulesError as error:
        raise _FaultError(Fault(FaultReason.RULES, str(error))) from error
    except RegistryError as error:
        is_unreadable = isinstance(error.__cause__, OSError)
        reason = FaultReason.UNREACHABLE if is_unreadable else FaultReason.REFUSED
        raise _FaultError(Fault(reason, str(error))) from error
    except OSError as error:  # of the copy or the config
        raise _FaultError(Fault(FaultReason.UNREACHABLE, str(error))) from error
