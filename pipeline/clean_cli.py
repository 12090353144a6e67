"""The command `outnumbered clean`."""

import json
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from components import paths
from pipeline.options import (
    Exit,
    JsonOption,
    OutputOption,
    fail,
    reporting_interruption,
)
from pipeline.terminal import plain

if TYPE_CHECKING:
    from pipeline.clean import Item

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def clean(
    output: OutputOption = "runs",
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove it; without, only show what would be removed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Frees the disk of what earlier runs have left and the newest ones do not need.

    Shows what it would remove; `--yes` removes it. Kept are the outputs and features of the newest
    finished run of each pipeline and study and of runs begun since, the registry, the ledgers, and
    all reports. An earlier run that is repeated makes the rest again.

        outnumbered clean --output runs/mine --yes
    """
    with reporting_interruption("run the same command again", as_json=as_json):
        _clean(output, yes=yes, as_json=as_json)


def _clean(output: str, *, yes: bool, as_json: bool) -> None:
    try:
        folder = paths.given("--output", output)
        if not (folder / "tfx").is_dir():
            raise ValueError(
                "--output must be the output folder of runs or studies, with a folder tfx. "
                f"Received: {output}"
            )
    except ValueError as error:
        fail(str(error), Exit.WRONG_USE, as_json=as_json)
    found = _cleaned(folder, yes=yes, as_json=as_json)
    freed = sum(item.size for item in found)
    if as_json:
        items = [
            {"path": str(item.path), "reason": item.reason, "bytes": item.size} for item in found
        ]
        print(json.dumps({"status": "done", "removed": yes, "bytes": freed, "items": items}))
    else:
        _show(found, freed, yes=yes)


def _cleaned(folder: Path, *, yes: bool, as_json: bool) -> "list[Item]":
    from pipeline.console import without_messages_of_libraries

    try:
        with without_messages_of_libraries():
            from pipeline import clean as cleaning

            return cleaning.clean(folder, now=time.time(), remove_them=yes)
    except (RuntimeError, OSError) as error:  # the folder is in use, damaged or not writable
        fail(str(error), Exit.FAILED, as_json=as_json)


def _show(found: "Iterable[Item]", freed: int, *, yes: bool) -> None:
    console = Console()
    by_reason: dict[str, list[Item]] = defaultdict(list)
    for item in found:
        by_reason[item.reason].append(item)
    for reason, items in by_reason.items():
        size = readable(sum(item.size for item in items))
        console.print(plain(f"{reason}: {size}", "bold"), soft_wrap=True)
        for item in items:
            console.print(plain(f"  {readable(item.size):>9}  {item.path}"), soft_wrap=True)
    if not by_reason:
        line = "Nothing to remove"
    elif yes:
        line = f"Removed: {readable(freed)}"
    else:
        line = f"To be removed with --yes: {readable(freed)}"
    console.print(plain(line), soft_wrap=True)


def readable(size: float) -> str:
    """Returns a size in bytes with three digits and a unit, powers of 1,000."""
    for unit in _UNITS:
        if size < 999.5 or unit == _UNITS[-1]:
            break
        size /= 1000
    return f"{size:.3g} {unit}"
