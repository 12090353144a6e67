"""The ledger: which images earlier draws have placed, and in which unit each of them stays.

It is one file: a line of JSON, the header, and a packed `PLACED` row an image, sorted by id.
The header holds the format's version, the settings that bands depend on, and a digest of all
the rest, which is checked whenever the file is read. The same draws give the same bytes.

A local ledger is replaced whole (temporary file, fsync, rename), and a lock beside it keeps
two draws apart. Elsewhere it is written by one put, and only where it still is what was read;
between that look and the put another draw could slip in, so let one pipeline write to it.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from tfx.dsl.io import fileio

from components import object_store
from components.imbalance_sampler.request import SamplingError
from components.imbalance_sampler.rows import PLACED, UNPLACED, Rows
from components.imbalance_sampler.shuffle import LOGGER
from components.imbalance_sampler.units import Units
from components.whole_file import whole_file

FOLDER = "ledgers"
SUFFIX = ".ledger"

_FORMAT = "outnumbered ledger"
_VERSION = 1
_START_ANEW = (
    "To begin a new draw, by which images may change split, move the ledger away or name another "
    "in sampler.ledger"
)


class LedgerError(SamplingError):
    """A ledger that can't be used; the message names the file, the fault and what to do."""


@dataclass(frozen=True)
class Terms:
    """What must stay the same from draw to draw.

    Attributes:
      random_state: the seed.
      group_by: column whose equal values stay together; '' for none.
      bands: name, start and end of each split's band of the score space.
      max_distance: bits in which the hashes of near-duplicates differ at most; it may become
        lower, but not higher again: images drawn into two splits could then be near-duplicates.
    """

    random_state: int
    group_by: str
    bands: tuple[tuple[str, str, str], ...]
    max_distance: int

    @classmethod
    def of(
        cls,
        *,
        random_state: int,
        group_by: str,
        bands: dict[str, tuple[Fraction, Fraction]],
        max_distance: int,
    ) -> "Terms":
        """The terms of a draw; see the attributes."""
        named = tuple((name, str(start), str(end)) for name, (start, end) in bands.items())
        return cls(random_state, group_by, named, max_distance)


@dataclass(frozen=True)
class Ledger:
    """A ledger's content.

    Attributes:
      terms: None where nothing was drawn before.
      rows: `PLACED`, sorted by id.
    """

    terms: Terms | None
    rows: Rows

    @property
    def digest(self) -> str:
        """SHA-256 in hex of all it holds; '' where nothing was drawn before."""
        return _digest(self.terms, self.rows.tobytes()) if self.terms else ""


EMPTY = Ledger(None, np.empty(0, PLACED))


def check(ledger: Ledger, terms: Terms, path: str) -> None:
    """Refuses terms by which images would change split.

    Raises:
      LedgerError: the setting, its value now, its value in the ledger, and what to do.
    """
    if ledger.terms is None:
        return
    for name, setting in (
        ("random_state", "sampler.random_state"),
        ("group_by", "sampler.group_by"),
        ("bands", "the shares of sampler.splits"),
    ):
        before, now = getattr(ledger.terms, name), getattr(terms, name)
        if before != now:
            raise LedgerError(
                f"with assignment 'stable', {setting} must stay as in the first draw: the ledger "
                f"{path} has {_shown(before)}. {_START_ANEW}. Received: {_shown(now)}"
            )
    if terms.max_distance > ledger.terms.max_distance:
        raise LedgerError(
            "with assignment 'stable', sampler.near_duplicates.max_distance may only become lower: "
            f"the ledger {path} has {ledger.terms.max_distance}, and images that were drawn into "
            f"two splits may differ in less. {_START_ANEW}. Received: {terms.max_distance}"
        )


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{name} {start} to {end}" for name, start, end in value)
    return repr(value)


def carried_on(ledger: Ledger, terms: Terms, images: Rows, units: Units) -> Ledger:
    """The ledger after a draw.

    Args:
      ledger: as it was.
      terms: those of the draw.
      images: `SCANNED` (n,), those that were there.
      units: their units.
    """
    _, first = np.unique(images["id"], return_index=True)
    here = np.empty(len(first), PLACED)
    for field in ("id", "hash", "hashed"):
        here[field] = images[field][first]
    here["unit"] = units.placed[first]
    gone = ledger.rows[~np.isin(ledger.rows["id"], here["id"])]
    rows = np.concatenate([here, gone])
    return Ledger(terms, rows[np.argsort(rows["id"], kind="stable")])


def account(ledger: Ledger, images: Rows, units: Units) -> dict[str, int]:
    """What a draw took from the ledger, for the sampler's account.

    Returns:
      `carried_forward`, images that stay where an earlier draw has placed them; `newcomers`,
      images of no earlier draw; `held_back`, images in no split since they resemble placed
      images of several splits; `absent`, images of earlier draws that are not there now.
    """
    placed = ledger.rows["id"][ledger.rows["unit"] != UNPLACED]
    return {
        "carried_forward": int(np.isin(images["id"], placed).sum()),
        "newcomers": int((~np.isin(images["id"], ledger.rows["id"])).sum()),
        "held_back": int(units.conflicts.sum()),
        "absent": int((~np.isin(ledger.rows["id"], images["id"])).sum()),
    }


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Keeps other draws away from a local ledger while the block runs; waits for its turn."""
    if _is_remote(path):
        yield
        return
    lock = Path(f"{path}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise LedgerError(
            f"the ledger {path} can't be written to ({error.strerror}); give a writable path in "
            "sampler.ledger"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.getLogger(LOGGER).info(
                "waiting for another run that draws with the ledger %s", path
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read(path: str) -> Ledger:
    """The ledger at a path; `EMPTY` where there is none.

    Raises:
      LedgerError: it can't be read, is damaged or of another version.
    """
    try:
        data = _read_bytes(path)
    except OSError as error:
        raise LedgerError(f"the ledger {path} can't be read: {error}") from error
    if data is None:
        return EMPTY
    head, _, body = data.partition(b"\n")
    try:
        header = json.loads(head)
        version = header["version"] if header["format"] == _FORMAT else None
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, "its header can't be read") from error
    if version != _VERSION:
        raise LedgerError(
            f"the ledger {path} is of format version {version}, and this release reads version "
            f"{_VERSION}; use the release that wrote it. {_START_ANEW}"
        )
    return _checked(path, header, body)


def write(ledger: Ledger, path: str, *, replacing: Ledger) -> None:
    """Writes a ledger, whole or not at all; one that has not changed is left as it is.

    Args:
      ledger: what to write.
      path: where.
      replacing: what was read there before.

    Raises:
      LedgerError: it can't be written, or another run has changed it since.
    """
    if ledger.digest == replacing.digest:
        return
    if read(path).digest != replacing.digest:
        raise LedgerError(
            f"the ledger {path} was changed by another run while this one drew; nothing of it was "
            "overwritten. Run this one again"
        )
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "terms": dataclasses.asdict(ledger.terms) if ledger.terms else None,
        "images": len(ledger.rows),
        "sha256": ledger.digest,
    }
    try:
        _write_bytes(path, json.dumps(header).encode() + b"\n" + ledger.rows.tobytes())
    except OSError as error:
        raise LedgerError(f"the ledger {path} can't be written: {error}") from error


def _checked(path: str, header: dict[str, Any], body: bytes) -> Ledger:
    try:
        given = header["terms"]
        bands = tuple((name, start, end) for name, start, end in given["bands"])
        terms = Terms(**{**given, "bands": bands})
        digest = header["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, "its header can't be read") from error
    if _digest(terms, body) != digest:
        raise _damaged(path, "its content does not have the digest that its header gives")
    return Ledger(terms, np.frombuffer(body, PLACED))


def _damaged(path: str, what: str) -> LedgerError:
    return LedgerError(
        f"the ledger {path} is damaged: {what}. Restore it from a copy. {_START_ANEW}"
    )


def _digest(terms: Terms, body: bytes) -> str:
    head = json.dumps(dataclasses.asdict(terms), sort_keys=True)
    return hashlib.sha256(head.encode() + b"\n" + body).hexdigest()


def _is_remote(path: str) -> bool:
    return "://" in path


def _read_bytes(path: str) -> bytes | None:
    if not _is_remote(path):
        return Path(path).read_bytes() if Path(path).exists() else None
    object_store.register()
    if not fileio.exists(path):
        return None
    with fileio.open(path, "rb") as file:
        return file.read()


def _write_bytes(path: str, data: bytes) -> None:
    if _is_remote(path):
        object_store.register()
        with fileio.open(path, "wb") as file:
            file.write(data)
        return
    with whole_file(Path(path)) as hidden:
        hidden.write_bytes(data)
