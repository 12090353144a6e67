"""What a finished run prints on the terminal."""

import io

from rich.console import Console

from pipeline import summary
from pipeline.local import RunResult


def shown(tmp_path, warning: str | None) -> str:
    rates = dict.fromkeys(("precision", "recall", "f1", "pr_auc", "accuracy", "threshold"), 0.5)
    metrics = {
        "answer": "Blessed.",
        "metrics": {**rates, **dict.fromkeys(("tp", "fp", "tn", "fn"), 1)},
        "slices": [],
        "blessed": True,
        "reason": "every gate was passed",
        "pushed_model": None,
        "sampling": {"near_duplicates": {"warning": warning}},
    }
    screen = io.StringIO()
    summary.show(RunResult(tmp_path, metrics), Console(file=screen, width=200))
    return screen.getvalue()


def test_a_large_cluster_of_near_duplicates_is_warned_of(tmp_path):
    warning = "one cluster [of near-duplicates] holds 12 of 100 images"
    assert f"Warning: {warning}" in shown(tmp_path, warning)
    assert "Warning" not in shown(tmp_path, None)
