"""The content of `registry.json`: which version serves, and the history. Pure functions.

The file is replaced as a whole. A version that was pushed by this release counts once the history
has it, so that a push that is killed before leaves the registry as it was.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, Field, ValidationError

from components.registry.errors import RegistryError
from components.registry.record import Number, Part

STATE_FILE = "registry.json"

Action = Literal["push", "promote", "rollback"]


class Entry(Part):
    """A change of the registry."""

    version: Number
    """The version that was pushed, promoted or rolled back to."""
    previous: Number | None
    """The version that served before; null if none did."""
    action: Action
    """What was done. A model that is not blessed is pushed without serving."""
    at: AwareDatetime | None
    """When, in UTC; null for a push by an earlier release, which recorded no time."""
    forced: bool = False
    """Whether a version that was never blessed was promoted by force."""
    reason: str = ""
    """Why, in the words of whoever did it."""


class State(Part):
    """The content of `registry.json`."""

    schema_version: Literal[1] = 1
    """Version of this schema."""
    serving: Number | None
    """The version that serves; null if none does."""
    history: list[Entry] = Field(default_factory=list)
    """All changes, the oldest first."""
    pruned: list[Number] = Field(default_factory=list)
    """Versions that were removed; their numbers are not used again."""

    def to_json(self) -> bytes:
        """Returns the content of the file."""
        return (self.model_dump_json(indent=1) + "\n").encode()

    def released(self) -> set[int]:
        """Returns the versions of the history that were not removed."""
        return {entry.version for entry in self.history} - set(self.pruned)

    def numbers(self) -> set[int]:
        """Returns all numbers that were ever used."""
        return {entry.version for entry in self.history} | set(self.pruned)

    def was_serving(self, version: int) -> bool:
        """Returns whether the version serves, or did at any time."""
        served = {entry.previous for entry in self.history} | {self.serving}
        return version in served

    def before(self) -> int | None:
        """Returns the version that the serving one replaced: where a rollback leads.

        A rollback itself is passed over, so that a second one goes further back.
        """
        changes = [
            entry
            for entry in self.history
            if entry.version == self.serving and entry.action != "rollback"
        ]
        before = changes[-1].previous if changes else None
        return None if before == self.serving or before in self.pruned else before

    def pushed(self, version: int, at: datetime | None, *, serves: bool) -> "State":
        """Returns the state after a push."""
        return self._after(version, "push", at, serving=version if serves else self.serving)

    def promoted(self, version: int, at: datetime, *, forced: bool, reason: str) -> "State":
        """Returns the state after a promotion."""
        return self._after(version, "promote", at, forced=forced, reason=reason)

    def rolled_back(self, version: int, at: datetime, *, reason: str) -> "State":
        """Returns the state after a rollback."""
        return self._after(version, "rollback", at, reason=reason)

    def without(self, versions: Iterable[int]) -> "State":
        """Returns the state without some versions."""
        return self.model_copy(update={"pruned": sorted({*self.pruned, *versions})})

    def _after(
        self,
        version: int,
        action: Action,
        at: datetime | None,
        *,
        serving: int | None = None,
        forced: bool = False,
        reason: str = "",
    ) -> "State":
        entry = Entry(
            version=version,
            previous=self.serving,
            action=action,
            at=at,
            forced=forced,
            reason=reason,
        )
        serving = version if action != "push" else serving
        return self.model_copy(update={"serving": serving, "history": [*self.history, entry]})


def parse(content: bytes, where: str) -> State:
    """Reads the content of `registry.json`.

    Args:
      content: of the file.
      where: its path, for the message.

    Raises:
      RegistryError: it is damaged, or of a later release.
    """
    try:
        return State.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise RegistryError(
            f"{where} can't be read: {key + ': ' if key else ''}{first['msg']}; restore it from a "
            "backup, or use the release that wrote it. Without the file, the newest version serves"
        ) from error
