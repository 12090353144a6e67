"""The summary of a finished study: the answer, the figures of the arms, and the output paths."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group, RenderableType

from components.study_reporter.ranking import compared_figures
from components.study_reporter.scores import AT_HALF, AT_OWN
from components.study_reporter.wording import percent
from pipeline.study.run import StudyResult
from pipeline.summary import figure, new_table
from pipeline.terminal import lines, plain

_RATES = ("precision", "recall", "f1", "accuracy")


def as_json(result: StudyResult) -> dict[str, Any]:
    """Returns the output of `outnumbered study --json`."""
    study = result.study
    return {
        "status": "done",
        "answer": study["answer"]["headline"],
        "smallest_difference": {
            split: answer["smallest"] for split, answer in study["answer"]["splits"].items()
        },
        "arms": {arm["arm"]: _figures(arm) for arm in study["arms"]},
        "frontier": study.get("frontier", []),
        "report": str(result.report),
        "folder": str(result.folder),
    }


def _figures(arm: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "trained": len(arm["replicates"]["trained"]),
        "diverged": len(arm["replicates"]["diverged"]),
        "threshold": arm["threshold"]["mean"],
        "tests": {
            split: {
                "at_0.5": _means(found[AT_HALF]),
                "at_own_threshold": _means(found[AT_OWN]),
                "pr_auc": found["pr_auc"]["mean"],
                "compared_at": found["compared_at"],
                "compared": {
                    "at_0.5": _means(compared_figures(found, AT_HALF)),
                    "at_own_threshold": _means(compared_figures(found, AT_OWN)),
                    "pr_auc": compared_figures(found, None)["pr_auc"]["mean"],
                },
            }
            for split, found in arm["tests"].items()
        },
    }


def _means(estimates: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: estimates[name]["mean"] for name in _RATES}


def show(result: StudyResult, console: Console) -> None:
    """Prints the summary of a finished study."""
    study = result.study
    console.print()
    console.print(plain(study["answer"]["headline"], "bold"))
    answers = study["answer"]["splits"]
    for split, answer in answers.items():
        if answer["smallest"]:
            on = f"On {split}: " if len(answers) > 1 else ""
            console.print(plain(f"{on}{answer['smallest']}"))
    for split in dict.fromkeys(split for arm in study["arms"] for split in arm["tests"]):
        console.print(_arms(study["arms"], split))
        if rows := [row for row in study.get("frontier", ()) if row["split"] == split]:
            console.print(_frontier(rows, split))
    for arm in study["arms"]:
        for replicate in arm["replicates"]["diverged"]:
            number, detail = replicate["replicate"], replicate["detail"]
            console.print(lines(f"{arm['arm']}: replicate {number} diverged: {detail}", "yellow"))
    console.print(_paths(result))


def _arms(arms: list[dict[str, Any]], split: str) -> RenderableType:
    shares = {arm["tests"][split]["compared_at"] for arm in arms if split in arm["tests"]}
    balance = "".join(f", weighted to {percent(share)} positives" for share in shares if share)
    shown = new_table(f"Means over replicates on {split}{balance}")
    shown.add_column("arm", no_wrap=True)
    for header in ("precision", "recall", "F1", "own threshold", "F1 (own)", "PR-AUC"):
        shown.add_column(header, justify="right")
    for arm in arms:
        if split not in arm["tests"]:
            continue
        found = arm["tests"][split]
        half = compared_figures(found, AT_HALF)
        shown.add_row(
            plain(arm["arm"]),
            *(figure(half[name]["mean"]) for name in ("precision", "recall", "f1")),
            figure(arm["threshold"]["mean"]),
            figure(compared_figures(found, AT_OWN)["f1"]["mean"]),
            figure(compared_figures(found, None)["pr_auc"]["mean"]),
        )
    return shown


def _frontier(rows: list[dict[str, Any]], split: str) -> RenderableType:
    shown = new_table(f"F1 on {split} against the cost of the network, the fastest first")
    shown.add_column("arm", no_wrap=True)
    for header in ("F1 (own)", "ms an image", "MB", "frontier"):
        shown.add_column(header, justify="right")
    for row in rows:
        shown.add_row(
            plain(row["arm"]),
            figure(row["f1"]["mean"]),
            f"{row['milliseconds']:.1f}",
            f"{row['megabytes']:.1f}",
            "yes" if row["on_frontier"] else "",
        )
    return shown


def _paths(result: StudyResult) -> RenderableType:
    return Group(plain(f"Report:  {result.report}"), plain(f"Figures: {result.folder}"))
