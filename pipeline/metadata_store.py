"""Checks the metadata store of an output folder: the SQLite file behind the cache."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

LOCK_SECONDS = 5.0
"""Time to wait for another program that uses the store."""

_DAMAGED = ("malformed", "file is not a database", "subset of tables", "no schema_version")
_OTHER_VERSION = ("greater than library version", "older than library version")
_FULL = "database or disk is full"
_WRITES_REFUSED = ("readonly", "unable to open database file")


class MetadataStoreError(RuntimeError):
    """The metadata store can't be used; the message names the file and says what to do."""


def path(output: Path) -> Path:
    """Returns the path of the metadata store of an output folder."""
    return output / "tfx" / "metadata.sqlite"


def connection(output: Path) -> Any:
    """Returns the ConnectionConfig of the metadata store of an output folder."""
    from tfx.orchestration.metadata import sqlite_metadata_connection_config

    return sqlite_metadata_connection_config(str(path(output)))


def check(file: Path) -> None:
    """Checks that a store, if it exists, is intact and can be written to; does not change it.

    Raises:
      MetadataStoreError: it is damaged, in use or can't be written to.
    """
    if not file.exists():
        return
    try:
        uri = f"{file.as_uri()}?mode=rw"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=LOCK_SECONDS)) as database:
            found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            _check_writable(database)
    except UnicodeDecodeError as error:  # of a damaged name, in the message of the check
        raise described(file, f"malformed: {error}") from error
    except sqlite3.Error as error:
        raise described(file, str(error)) from error
    if found != "ok":
        raise described(file, f"malformed: {' '.join(found.split())}")


def connect(output: Path) -> Any:
    """Returns the MetadataStore of an output folder, which is created if it does not exist.

    Raises:
      MetadataStoreError: see `check`; also if it is of another version.
    """
    from ml_metadata.metadata_store import MetadataStore

    check(path(output))
    try:
        return MetadataStore(connection(output))
    except RuntimeError as error:
        raise described(path(output), str(error)) from error


def is_new(file: Path) -> bool:
    """Returns whether a store does not exist, or is empty after a crash during its creation."""
    return not file.exists() or (file.is_file() and file.stat().st_size == 0)


def _check_writable(database: sqlite3.Connection) -> None:
    database.execute("BEGIN IMMEDIATE")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    database.execute(f"PRAGMA user_version = {version}")
    database.execute("ROLLBACK")


def tells_of_damage(message: str) -> bool:
    """Returns whether an error of SQLite or ML Metadata says that a store is damaged."""
    return any(text in message for text in _DAMAGED)


def described(file: Path, detail: str) -> MetadataStoreError:
    """Returns the error for a message of SQLite or ML Metadata, which says what to do."""
    return MetadataStoreError(f"the metadata store {file} {_problem(file, detail)}")


def _problem(file: Path, detail: str) -> str:
    rebuild = (
        f"rename it and run the same command again: mv {file} {file}.old. The cache and the list "
        "of earlier runs are lost, so all steps run again; pushed models, checkpoints, ledgers "
        "and the results in runs/ are kept"
    )
    if tells_of_damage(detail):
        return f"is damaged ({detail:.200}); {rebuild}"
    if any(text in detail for text in _OTHER_VERSION):
        return (
            f"is of another version of ML Metadata ({detail:.60}); use the version of the project "
            f"that wrote it, or {rebuild}"
        )
    if _FULL in detail:
        return f"can't be written to ({_FULL}); free some space, or set another --output"
    if any(text in detail for text in _WRITES_REFUSED):
        return (
            f"can't be written to ({detail:.200}); make it and its folder writable, or set "
            "--output to another folder"
        )
    return f"can't be used ({detail:.200}); if it is in use, wait, or {rebuild}"
