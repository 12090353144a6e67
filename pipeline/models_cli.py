"""The commands `outnumbered models list | show | promote | rollback | track | prune | verify`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer
import yaml
from rich import box
from rich.console import Console
from rich.table import Column, Table

from components import paths
from components.messages import InputError
from components.registry import Registry, RegistryError, VersionRecord, open_registry
from components.registry.signing import SignatureState
from components.tracking.track import track, warning
from pipeline import local
from pipeline.options import (
    Exit,
    JsonOption,
    PresetOption,
    SetOption,
    SettingsOption,
    fail,
    reporting_interruption,
)
from pipeline.settings import SettingsError, load_settings
from pipeline.terminal import print_line, print_note

_FIGURES = ("recall", "precision")
_TO_DAYS = len("2026-11-27")

app = typer.Typer(
    no_args_is_help=True,
    help="Show the pushed models, and choose which one serves.",
    epilog="Exit codes: 0 done, 1 failed and the registry is unchanged, 2 usage error.",
)

RegistryOption = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="PATH",
        help="The registry: a folder, or s3:// or gs://. Default: that of the settings, or of "
        "--output.",
    ),
]
OutputOption = Annotated[
    str, typer.Option("--output", metavar="PATH", help="Output folder of the runs.")
]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why, for the registry's history.")
]
VersionArgument = Annotated[int, typer.Argument(metavar="VERSION", help="Number of a version.")]
AnyVersionArgument = Annotated[
    int | None, typer.Argument(metavar="VERSION", help="Number of a version.")
]


@app.command("list")
def list_versions(
    registry: RegistryOption = None,
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    output: OutputOption = "runs",
    as_json: JsonOption = False,
) -> None:
    """Lists the versions, and marks the one that serves.

    Recall and precision are those at the prevalence of the real world.

        outnumbered models list --registry runs/registry
    """
    with _opened(registry, preset, settings, overrides, output, as_json=as_json) as found:
        serving = found.serving()
        rows = [_row(found.record(version), serving) for version in found.versions()]
        if as_json:
            print(json.dumps({"registry": found.root, "serving": serving, "versions": rows}))
        elif rows:
            _print_rows(rows)
        else:
            print_line(f"The registry {found.root} has no versions, or does not exist")


@app.command()
def show(
    version: AnyVersionArgument = None,
    registry: RegistryOption = None,
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    output: OutputOption = "runs",
    as_json: JsonOption = False,
) -> None:
    """Shows the record of a version, by default the one that serves, and its history."""
    with _opened(registry, preset, settings, overrides, output, as_json=as_json) as found:
        found.check_not_empty()
        state = found.state()
        number = version if version is not None else state.serving
        if number is None:
            raise RegistryError(f"no version serves in {found.root}; give the number of a version")
        facts = {
            "version": number,
            "uri": found.uri(number),
            "serving": number == state.serving,
            "record": found.record(number).model_dump(mode="json"),
            "history": [
                entry.model_dump(mode="json") for entry in state.history if entry.version == number
            ],
        }
        print(json.dumps(facts) if as_json else yaml.safe_dump(facts, sort_keys=False), end="")
        if as_json:
            print()


@app.command()
def promote(
    version: VersionArgument,
    force: Annotated[
        bool,
        typer.Option("--force", help="Promote a version that was never blessed; it is recorded."),
    ] = False,
    reason: ReasonOption = "",
    registry: RegistryOption = None,
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    output: OutputOption = "runs",
    as_json: JsonOption = False,
) -> None:
    """Makes a version serve, once its files are checked."""
    with _opened(registry, preset, settings, overrides, output, as_json=as_json) as found:
        found.promote(version, force=force, reason=reason)
        _print_serving(found, version, as_json=as_json)
        _track_serving(found, version, preset, settings, overrides)


@app.command()
def rollback(
    to: Annotated[
        int | None,
        typer.Option(
            "--to",
            metavar="VERSION",
            help="The version; default: the one that the serving version replaced.",
        ),
    ] = None,
    reason: ReasonOption = "",
    registry: RegistryOption = None,
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    output: OutputOption = "runs",
    as_json: JsonOption = False,
) -> None:
    """Makes an earlier version serve again. Nothing is copied, and no version is removed."""
    with _opened(registry, preset, settings, overrides, output, as_json=as_json) as found:
        version = found.rollback(to, reason=reason)
        _print_serving(found, version, as_json=as_json)
        _track_serving(found, version, preset, settings, overrides)


@app.command("track")
def track_versions(
    version: AnyVersionArgument = None,
    registry: RegistryOption = None,
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    output: OutputOption = "runs",
    as_json: JsonOption = False,
) -> None:
    """Registers a version, by default all, with the servers of `tracking` in the settings.

    What is registered already is not registered again. The version that serves is marked.

        outnumbered models track --settings mine.yaml --output runs/mine
    """
    with _opened(registry, preset, settings, overrides, output, as_json=as_json) as found:
        try:
            loaded = load_settings(preset, settings, overrides)
            if loaded.tracking.is_off():
                raise SettingsError(
                    "tracking.mlflow or tracking.model_registry is required. Received: neither"
                )
            numbers = found.versions() if version is None else [version]
            outcomes = track(found, loaded.tracking, loaded.name, numbers)
        except InputError as error:
            fail(str(error), Exit.WRONG_USE, as_json=as_json)
        if as_json:
            print(json.dumps({"registry": found.root, "servers": [*map(asdict, outcomes)]}))
        else:
            for outcome in outcomes:
                print(f"{outcome.server}: {outcome.problem or 'all is registered'}")
        if any(outcome.problem for outcome in outcomes):
            raise typer.Exit(Exit.FAILED)


@app.command()
def prune(
    keep: Annotated[int, typer.Option("--keep", help="Number of the newest versions to keep.")],
    registry: RegistryOption = None,
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    output: OutputOption = "runs",
    as_json: JsonOption = False,
) -> None:
    """Removes old versions, but never the one that serves, nor the one that it replaced."""
    with _opened(registry, preset, settings, overrides, output, as_json=as_json) as found:
        removed = found.prune(keep)
        if as_json:
            print(json.dumps({"registry": found.root, "removed": removed}))
        else:
            print(f"removed: {', '.join(map(str, removed)) or 'none'}")


@app.command()
def verify(
    version: AnyVersionArgument = None,
    registry: RegistryOption = None,
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    output: OutputOption = "runs",
    as_json: JsonOption = False,
) -> None:
    """Checks the files of a version, by default of all, by their digests, and the signatures.

    Signatures are checked with the public key whose file `OUTNUMBERED_VERIFY_KEY` names; with it,
    a version that is not signed fails.
    """
    with _opened(registry, preset, settings, overrides, output, as_json=as_json) as found:
        found.check_not_empty()
        numbers = found.versions() if version is None else [version]
        rows = [_verified(found, number) for number in numbers]
        if as_json:
            print(json.dumps({"registry": found.root, "versions": rows}))
        else:
            for row in rows:
                print(f"{row['version']}: {row['problem'] or _intact(row['signature'])}")
        if any(row["problem"] for row in rows):
            raise typer.Exit(Exit.FAILED)


@contextmanager
def _opened(
    registry: str | None,
    preset: str | None,
    settings: str | None,
    overrides: list[str] | None,
    output: str,
    *,
    as_json: bool,
) -> Iterator[Registry]:
    """Yields the registry that the options name; reports errors and ends the command."""
    with reporting_interruption("run the same command again", as_json=as_json):
        try:
            root = _root(registry, preset, settings, overrides, output)
        except (SettingsError, paths.PathError) as error:
            fail(str(error), Exit.WRONG_USE, as_json=as_json)
        try:
            yield open_registry(root)
        except RegistryError as error:
            fail(str(error), Exit.FAILED, as_json=as_json)


def _root(
    registry: str | None,
    preset: str | None,
    settings: str | None,
    overrides: list[str] | None,
    output: str,
) -> str:
    if registry is not None:
        return paths.given_source("--registry", registry)
    folder = paths.output_folder(output)
    if preset is None and settings is None:
        return str(folder / "registry")
    return local.registry(load_settings(preset, settings, overrides), folder)


def _row(record: VersionRecord, serving: int | None) -> dict[str, Any]:
    metrics = record.metrics.at_prevalence if record.metrics else {}
    return {
        "version": record.version,
        "serving": record.version == serving,
        "created": record.created and record.created.isoformat(),
        "blessed": record.blessed,
        **{name: metrics.get(name) for name in _FIGURES},
        "images": record.data and record.data.images,
        "champion": record.lineage.champion,
    }


def _print_rows(rows: list[dict[str, Any]]) -> None:
    table = Table(
        Column("version", justify="right"),
        *("serving", "pushed", "blessed"),
        *(Column(name, justify="right") for name in (*_FIGURES, "images", "champion")),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),  # fits 80 characters
    )
    for row in rows:
        table.add_row(
            str(row["version"]),
            "yes" if row["serving"] else "",
            row["created"][:_TO_DAYS] if row["created"] else "–",
            {True: "yes", False: "no", None: "–"}[row["blessed"]],
            *("–" if row[name] is None else f"{row[name]:.4f}" for name in _FIGURES),
            *("–" if row[name] is None else str(row[name]) for name in ("images", "champion")),
        )
    Console().print(table)


def _print_serving(registry: Registry, version: int, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"registry": registry.root, "serving": version}))
    else:
        print(f"version {version} serves: {registry.uri(version)}")


def _intact(signature: SignatureState) -> str:
    return "intact, not signed" if signature == "not signed" else f"intact, signature {signature}"


def _track_serving(
    registry: Registry,
    version: int,
    preset: str | None,
    path: str | None,
    overrides: list[str] | None,
) -> None:
    """Changes the stage at the servers of the settings, if there are any; failures are notes."""
    if preset is None and path is None:
        return
    done = f"version {version} serves"
    try:
        loaded = load_settings(preset, path, overrides)
        outcomes = track(registry, loaded.tracking, loaded.name, [version])
    except (InputError, RegistryError) as error:
        print_note(f"warning: {done}, but it is not tracked: {error}")
        return
    for outcome in outcomes:
        if outcome.problem is not None:
            print_note(f"warning: {warning(outcome, done)}")


def _verified(registry: Registry, version: int) -> dict[str, Any]:
    try:
        return {"version": version, "signature": registry.verify(version), "problem": None}
    except RegistryError as error:
        return {"version": version, "signature": None, "problem": str(error)}
