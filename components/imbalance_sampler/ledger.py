"""The ledger: the images that earlier draws have placed, and the unit in which each one stays.

It is one file: a header, which is one line of JSON, and one packed `PLACED` row per image, sorted
by id. The header contains the format's version, the settings that bands depend on, and a digest of
everything else, which is checked whenever the file is read. The same draws give the same bytes.

A local ledger is replaced atomically (temporary file, fsync, rename), and a lock file next to it
serializes draws. A remote ledger is written by a single put, after a check that it has not changed
since it was read; another draw could write between this check and the put, so only one pipeline
should write to it.
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
from components.whole_file import remove_unfinished, whole_file

FOLDER = "ledgers"
SUFFIX = ".ledger"

_FORMAT = "outnumbered ledger"
_VERSION = 1
_START_OVER = (
    "To start a new draw, in which images may change split, move the ledger elsewhere or set "
    "another path in sampler.ledger"
)


class LedgerError(SamplingError):
    """A ledger that can't be used; the message gives the file, the problem and what to do."""


@dataclass(frozen=True)
class Terms:
    """The settings that must stay the same from draw to draw.

    Attributes:
      random_state: the seed.
      group_by: column whose equal values stay together; '' for none.
      bands: name, start and end of each split's band of the score space.
      max_distance: maximum number of bits in which the hashes of near-duplicates differ; it may
        be lowered, but not raised again: images of two splits could then be near-duplicates.
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
        """Makes the terms of a draw; see the attributes."""
        named = tuple((name, str(start), str(end)) for name, (start, end) in bands.items())
        return cls(random_state, group_by, named, max_distance)


@dataclass(frozen=True)
class Ledger:
    """A ledger's content.

    Attributes:
      terms: None before the first draw.
      rows: `PLACED`, sorted by id.
    """

    terms: Terms | None
    rows: Rows

    @property
    def digest(self) -> str:
        """SHA-256 of the content, in hex; '' before the first draw."""
        return _digest(self.terms, self.rows.tobytes()) if self.terms else ""


EMPTY = Ledger(None, np.empty(0, PLACED))


def check(ledger: Ledger, terms: Terms, path: str) -> None:
    """Refuses terms that would make images change split.

    Raises:
      LedgerError: a setting differs; the message gives both values and what to do.
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
                f"{path} has {_formatted(before)}. {_START_OVER}. Received: {_formatted(now)}"
            )
    if terms.max_distance > ledger.terms.max_distance:
        raise LedgerError(
            "with assignment 'stable', sampler.near_duplicates.max_distance may only be lowered: "
            f"the ledger {path} has {ledger.terms.max_distance}, and images of two splits may be "
            f"near-duplicates at a larger one. {_START_OVER}. Received: {terms.max_distance}"
        )


def _formatted(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{name} {start} to {end}" for name, start, end in value)
    return repr(value)


def after_draw(ledger: Ledger, terms: Terms, images: Rows, units: Units) -> Ledger:
    """Returns the ledger after a draw.

    Args:
      ledger: the ledger before the draw.
      terms: the terms of the draw.
      images: `SCANNED` (n,), the images of the draw.
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


def summary(ledger: Ledger, images: Rows, units: Units) -> dict[str, int]:
    """Summarizes what a draw took from the ledger, for the sampler's report.

    Returns:
      `carried_forward`, images that stay where an earlier draw has placed them; `newcomers`,
      images of no earlier draw; `held_back`, images in no split because they resemble placed
      images of several splits; `absent`, images of earlier draws that are missing now.
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
    """Locks a local ledger against other draws while the block runs; waits for the lock."""
    if _is_remote(path):
        yield
        return
    lock = Path(f"{path}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise LedgerError(
            f"the ledger {path} can't be written to ({error.strerror}); set sampler.ledger to a "
            "writable path"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.getLogger(LOGGER).info("waiting for another run that uses the ledger %s", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read(path: str) -> Ledger:
    """Reads the ledger at a path; returns `EMPTY` if there is none.

    Raises:
      LedgerError: it can't be read, is damaged, or has another version.
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
            f"the ledger {path} must have format version {_VERSION}, which this release reads; use "
            f"the release that wrote it. {_START_OVER}. Received: version {version}"
        )
    return _checked(path, header, body)


def write(ledger: Ledger, path: str, *, replacing: Ledger) -> None:
    """Writes a ledger atomically; does nothing if it has not changed.

    Args:
      ledger: the ledger to write.
      path: where to write it.
      replacing: the ledger that was read from this path before.

    Raises:
      LedgerError: it can't be written, or another run has changed it since it was read.
    """
    if ledger.digest == replacing.digest:
        return
    if read(path).digest != replacing.digest:
        raise LedgerError(
            f"the ledger {path} was changed by another run during this draw, so it was not "
            "overwritten; run again"
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
        raise _damaged(path, "its content does not match the digest in its header")
    return Ledger(terms, np.frombuffer(body, PLACED))


def _damaged(path: str, what: str) -> LedgerError:
    return LedgerError(
        f"the ledger {path} is damaged: {what}. Restore it from a backup. {_START_OVER}"
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
    remove_unfinished(Path(path))
    with whole_file(Path(path)) as hidden:
        hidden.write_bytes(data)
