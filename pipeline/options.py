"""What the commands have in common: options, exit codes, and how a failure is told."""

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
    str | None, typer.Option("--preset", help=f"Settings that come with the project: {_PRESETS}.")
]
SettingsOption = Annotated[
    str | None,
    typer.Option("--settings", metavar="PATH", help="A settings file of your own (YAML)."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one value, such as `--set trainer.epochs=5`. May be given many times.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON on standard output, all else on standard error.")
]


def fail(message: str, code: Exit, *, as_json: bool, **facts: Any) -> NoReturn:
    """Tells what went wrong on standard error and ends the command.

    Args:
      message: what was asked, what was found and what to do.
      code: the exit code.
      as_json: print a JSON object on standard output too.
      facts: more of that object's members.
    """
    console = Console(stderr=True)
    console.print(Text("error: ", style="bold red"), end="")
    write(console, message)
    if as_json:
        status = "interrupted" if code is Exit.INTERRUPTED else "failed"
        print(json.dumps({"status": status, **facts, "error": message}))
    raise typer.Exit(code)
