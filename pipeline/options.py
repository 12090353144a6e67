"""Shared parts of the commands: options, exit codes, and error output."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from components import stop_signals
from components.messages import cut
from components.stop_signals import TerminatedError
from pipeline import settings as settings_module
from pipeline.terminal import write


class Exit(IntEnum):
    """The exit codes of the command line."""

    DONE = 0
    FAILED = 1
    WRONG_USE = 2
    NOT_BLESSED = 3
    INTERRUPTED = 130
    TERMINATED = 143


EXIT_CODES = "130 interrupted by Ctrl-C, 143 terminated by SIGTERM."
"""The end of the list of exit codes in the help of the commands."""


RESUMES = "run the same command again to resume"
"""What to do after an interrupted run or study."""

_MAX_LINE = 1000
_MAX_LINES = 100

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
SpanOption = Annotated[
    str | None,
    typer.Option(
        "--span",
        metavar="SPAN",
        help="Newest span of the data to take, such as 7 or 2026-11-27; by default the newest "
        "there is. Short for `--set data.span=SPAN`.",
    ),
]
OutputOption = Annotated[
    str, typer.Option("--output", metavar="PATH", help="Output folder, the same for repeated runs.")
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print JSON on standard output, and the rest on standard error."),
]


def with_span(overrides: list[str] | None, span: str | None) -> list[str]:
    """Returns the overrides of `--set` with that of `--span`."""
    # Quoted: YAML would read 07 as a number, and a date as none of both.
    return [*(overrides or ()), *([] if span is None else [f"data.span={json.dumps(span)}"])]


def fail(message: str, code: Exit, *, as_json: bool, **facts: Any) -> NoReturn:
    """Prints an error on standard error and ends the command.

    Args:
      message: what is wrong, and what to do.
      code: the exit code.
      as_json: also print a JSON object on standard output.
      facts: additional members of that object.
    """
    message = shortened(message)
    console = Console(stderr=True)
    console.print(Text("error: ", style="bold red"), end="")
    write(console, message)
    if as_json:
        status = "interrupted" if code in (Exit.INTERRUPTED, Exit.TERMINATED) else "failed"
        print(json.dumps({"status": status, **facts, "error": message}), flush=True)
    raise typer.Exit(code)


def shortened(message: str) -> str:
    """Returns a message with long lines, which show values that were given, cut in the middle."""
    lines = message.split("\n")
    shown = [cut(line, _MAX_LINE) for line in lines[:_MAX_LINES]]
    if len(lines) > _MAX_LINES:
        shown.append(f"... {len(lines) - _MAX_LINES:,} more lines")
    return "\n".join(shown)


_report: list[Callable[[KeyboardInterrupt], object]] = []


@contextlib.contextmanager
def reporting_interruption(advice: str, *, as_json: bool, **facts: Any) -> Iterator[None]:
    """Reports Ctrl-C and SIGTERM and ends the command with their exit codes.

    Args:
      advice: what remains, or what to do.
      as_json: also print a JSON object on standard output.
      facts: additional members of that object.
    """

    def report(error: KeyboardInterrupt) -> NoReturn:
        terminated = isinstance(error, TerminatedError)
        event = "terminated by SIGTERM" if terminated else "interrupted"
        code = Exit.TERMINATED if terminated else Exit.INTERRUPTED
        fail(f"{event}; {advice}", code, as_json=as_json, **facts)

    _report.append(report)
    try:
        yield
    except KeyboardInterrupt as error:
        report(error)
    finally:
        _report.remove(report)


def run_command(app: Callable[[], object]) -> None:
    """Runs the command line and ends this process in order also after Ctrl-C and SIGTERM."""
    stop_signals.install(lambda error: _report[-1](error) if _report else None)
    try:
        app()
    except SystemExit as ended:
        if ended.code in (Exit.INTERRUPTED, Exit.TERMINATED):
            # The threads of Beam and TensorFlow would first finish their work.
            sys.stdout.flush()
            sys.stderr.flush()
            stop_signals.end(int(ended.code))
        raise
