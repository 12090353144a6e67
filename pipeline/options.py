"""Shared parts of the commands: options, exit codes, and error output."""

import json
from enum import IntEnum
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from pipeline import settings as settings_module
from pipeline.terminal import write


class Exit(IntEnum):
    """The exit codes of the command line."""

    DONE = 0
    FAILED = 1
    WRONG_USE = 2
    NOT_BLESSED = 3
    INTERRUPTED = 130


_PRESETS = ", ".join(settings_module.preset_names())
PresetOption = Annotated[
    str | None, typer.Option("--preset", help=f"Built-in settings: {_PRESETS}.")
]
SettingsOption = Annotated[
    str | None,
    typer.Option("--settings", metavar="PATH", help="Your own settings file (YAML)."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one value, such as `--set trainer.epochs=5`. May be repeated.",
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print JSON on standard output, and the rest on standard error."),
]


def fail(message: str, code: Exit, *, as_json: bool, **facts: Any) -> NoReturn:
    """Prints an error on standard error and ends the command.

    Args:
      message: what is wrong, and what to do.
      code: the exit code.
      as_json: also print a JSON object on standard output.
      facts: additional members of that object.
    """
    console = Console(stderr=True)
    console.print(Text("error: ", style="bold red"), end="")
    write(console, message)
    if as_json:
        status = "interrupted" if code is Exit.INTERRUPTED else "failed"
        print(json.dumps({"status": status, **facts, "error": message}))
    raise typer.Exit(code)
