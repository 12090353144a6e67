"""The page of a history, in words and in a browser."""

import datetime

from browser import SCHEMES, WIDTHS, chromium, faults, needs_chromium, opened, overflow

from pipeline.retrain import page
from pipeline.retrain.history import METRICS, Figure, GateOutcome, Outcome, Row


def row(day, outcome, version=None, reason="recall is 0.9 (>= 0.6)"):
    failed = outcome is Outcome.FAILED
    figure = Figure(value=0.8, interval=(0.7, 0.9))
    gate = GateOutcome(gate="recall >= 0.6", passed=not failed, description=reason)
    return Row(
        key=str(day),
        at=datetime.datetime(2026, 11, day, 3, tzinfo=datetime.UTC),
        seconds=300.0,
        outcome=outcome,
        reason=reason,
        run="" if failed else f"runs/{day}",
        version=version,
        span="" if failed else f"2026-11-0{day}",
        spans=None if failed else day,
        images=None if failed else 100 * day,
        positives=None if failed else 10 * day,
        prevalence=None if failed else 1 / 11,
        metrics={} if failed else dict.fromkeys(METRICS, figure),
        gates=[] if failed else [gate],
    )


ROWS = [
    row(1, Outcome.RELEASED, 1),
    row(2, Outcome.REJECTED, reason="recall is <b>0.5</b>, but the gate requires recall >= 0.6"),
    row(3, Outcome.RELEASED, 2),
    row(4, Outcome.FAILED, reason="no space left for runs; free some"),
]


def test_the_answer_names_the_last_release_and_how_the_last_run_ended():
    assert page.answer(ROWS) == (
        "2 of 4 runs released a model, the last of them version 2 on 2026-11-03, with an F1 of "
        "0.800 (0.700 to 0.900). The last run failed: no space left for runs; free some."
    )
    assert page.answer(ROWS[1:2]).startswith("No model was released in 1 run. The last run was not")


def test_the_newest_span_of_each_run_is_shown_if_the_data_has_spans():
    assert '<td>2026-11-03<span class="more">of 3</span></td>' in page.render(ROWS, title="dogs")
    without = [each.model_copy(update={"span": "", "spans": 0}) for each in ROWS]
    assert "newest span" not in page.render(without, title="dogs")


def test_a_history_of_failures_alone_has_a_page():
    html = page.render(ROWS[-1:], title="dogs")
    assert "✗ failed" in html
    assert "<figure>" not in html


def test_what_was_measured_of_labels_is_escaped():
    html = page.render(ROWS, title="<script>")
    assert "<b>0.5" not in html
    assert "<script>" not in html


@needs_chromium
def test_the_page_is_accessible_and_fits_the_window(tmp_path):
    file = tmp_path / "history.html"
    file.write_text(page.render(ROWS, title="dogs"), encoding="utf-8")
    with chromium() as browser:
        for scheme in SCHEMES:
            for width in WIDTHS.values():
                with opened(browser, file, width=width, scheme=scheme) as opened_page:
                    assert faults(opened_page) == [], (scheme, width)
                    assert overflow(opened_page) == 0, (scheme, width)
