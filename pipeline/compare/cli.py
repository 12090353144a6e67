"""The command `outnumbered report compare`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from components import paths
from components.whole_file import write_text
from pipeline.options import Exit, JsonOption, fail, reporting_interruption
from pipeline.terminal import plain

PAGE_FILE = "comparison.html"
JSON_FILE = "comparison.json"

app = typer.Typer(no_args_is_help=True, help="Compare the reports of finished runs.")


@app.callback()
def _group() -> None:
    """Keeps `compare` a subcommand: typer would merge a group's only command into it."""


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="FIRST", help="A run, such as runs/a/latest.")],
    second: Annotated[
        str, typer.Argument(metavar="SECOND", help="The run that is compared with it.")
    ],
    output: Annotated[
        str, typer.Option("--output", metavar="PATH", help="Output folder of the comparison.")
    ] = "comparison",
    as_json: JsonOption = False,
) -> None:
    """Puts two runs side by side, with paired differences and their intervals.

    Both runs must have evaluated the same images, or a part of them. A run is given by its folder,
    or by the output folder of `outnumbered run`, of which the latest run is used. Writes
    `comparison.html` and `comparison.json`.

        outnumbered report compare runs/before runs/after
    """
    with reporting_interruption("run the same command again", as_json=as_json):
        _compare(first, second, output, as_json=as_json)


def _compare(first: str, second: str, output: str, *, as_json: bool) -> None:
    from pipeline.compare import comparison, page, run_folder

    try:
        folder = paths.output_folder(output)
        runs = [
            run_folder.read(Path(paths.given(name, path)))
            for name, path in (("FIRST", first), ("SECOND", second))
        ]
        found = comparison.compare(*runs)
        html = page.render(found)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / JSON_FILE, json.dumps(found, indent=1, allow_nan=False))
        write_text(folder / PAGE_FILE, html)
    except (ValueError, OSError) as error:
        fail(str(error), Exit.WRONG_USE, as_json=as_json)
    if as_json:
        print(json.dumps(found, allow_nan=False))
    else:
        _show(found, folder)


def _show(found: dict[str, Any], folder: Path) -> None:
    from pipeline.summary import figure, new_table

    console = Console()
    table = new_table("In the real world")
    for title in ("metric", "first", "second", "difference", "95 % interval"):
        table.add_column(title, justify="left" if title == "metric" else "right")
    for row in found["metrics"]:
        if row["balance"] == "prevalence":
            ends = row["interval"]
            table.add_row(
                row["metric"],
                *(figure(row["first"]), figure(row["second"])),
                "–" if ends is None else f"{row['difference']:+.3f}",
                "–" if ends is None else f"{ends[0]:+.3f} to {ends[1]:+.3f}",
            )
    console.print(plain(found["answer"], "bold"), soft_wrap=True)
    console.print(table)
    for remark in found["remarks"]:
        console.print(plain(f"Note: {remark}", "yellow"), soft_wrap=True)
    console.print(plain(f"Comparison: {folder / PAGE_FILE}"), soft_wrap=True)
