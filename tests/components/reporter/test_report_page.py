"""The report in a browser: it runs without errors, moves with its slider, and is accessible."""

import json
import re

import pytest
from browser import SCHEMES, WIDTHS, chromium, faults, needs_chromium, opened, overflow
from run_on_disk import some_run

from components.evaluator.metrics import confusion, rates, rates_at_prevalence
from components.reporter import wording

pytestmark = needs_chromium
COSTS = {"missed": 50, "false_alarm": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return some_run(
        tmp_path_factory.mktemp("run"), operating={"costs": COSTS}, has_features=True
    ).write()


@pytest.fixture(scope="module")
def report(run):
    html, _ = run.report()
    return run.root / "report" / "report.html", html


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


def shown(page, balance):
    """The figures of a balance, by name."""
    cells = page.locator(f"[data-balance={balance}] [data-figure]")
    return {cell.get_attribute("data-figure"): cell.text_content().strip() for cell in cells.all()}


def same(found, expected):
    """Whether all figures are equal, up to the rounding of their last digit."""
    assert found.keys() == expected.keys()
    for balance, figures in expected.items():
        assert found[balance].keys() == figures.keys()
        for name, text in figures.items():
            decimals = len(text.partition(".")[2])
            shown, wanted = (float(each.replace(",", "")) for each in (found[balance][name], text))
            assert shown == pytest.approx(wanted, abs=1.01 * 10**-decimals if decimals else 0), name
    return True


def expected(run, threshold):
    """The figures at a threshold, from the predictions themselves, as the page writes them."""
    counts = confusion(run.labels, run.probabilities.astype("float32") >= threshold)
    share = counts.positives / len(run.labels)
    at_world = rates_at_prevalence(counts.recall, counts.false_positive_rate, run.prevalence)
    found = {}
    for name, prevalence, figures in (
        ("test", share, rates(counts)),
        ("world", run.prevalence, {key: float(value) for key, value in at_world.items()}),
    ):
        fn = 1000 * prevalence * (1 - counts.recall)
        fp = 1000 * (1 - prevalence) * counts.false_positive_rate
        tp, tn = 1000 * prevalence - fn, 1000 * (1 - prevalence) - fp
        images = {"tp": tp, "fn": fn, "fp": fp, "tn": tn}
        found[name] = {
            **{key: wording.amount(value) for key, value in images.items()},
            **{key: wording.rate(figures[key]) for key in ("recall", "precision", "f1")},
            "alerts": wording.amount(tp + fp),
            "cost": wording.amount(COSTS["missed"] * fn + COSTS["false_alarm"] * fp),
        }
    found["test"] |= {key: f"{getattr(counts, key):,}" for key in ("tp", "fn", "fp", "tn")}
    return found


def thresholds(html):
    (data,) = re.findall(r'id="threshold-counts">(.*?)</script>', html)
    return json.loads(data)["thresholds"]


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_the_slider_moves_every_figure_at_both_balances(browser, run, report, place):
    file, html = report
    index = int(place * len(thresholds(html)))
    with opened(browser, file, width=1280, scheme="light") as page:
        start = {name: shown(page, name) for name in ("test", "world")}
        assert same(start, expected(run, 0.5))
        page.locator("#threshold").fill(str(index))
        moved = {name: shown(page, name) for name in ("test", "world")}
        assert same(moved, expected(run, thresholds(html)[index]))
        assert all(moved[name]["alerts"] != start[name]["alerts"] for name in start)
        page.locator("#threshold-reset").click()
        assert {name: shown(page, name) for name in ("test", "world")} == start


def test_the_slider_moves_the_dot_along_the_curve_and_the_line_in_the_histogram(
    browser, run, report
):
    file, html = report
    index = len(thresholds(html)) * 3 // 4
    with opened(browser, file, width=1280, scheme="light") as page:
        middles = """nodes => nodes.map((node) => node.getBoundingClientRect())
            .map((box) => [box.x + box.width / 2, scrollY + box.y + box.height / 2])"""
        before = page.locator("[data-moves]").evaluate_all(middles)
        page.locator("#threshold").fill(str(index))
        after = page.locator("[data-moves]").evaluate_all(middles)
        scale = page.locator("svg").first.evaluate(
            "svg => [svg.dataset.axes, svg.dataset.limits, svg.getScreenCTM().a]"
        )
    left, bottom, right, top = map(float, scale[0].split())
    x0, y0, x1, y1 = map(float, scale[1].split())
    outline, dot, line = zip(before, after, strict=True)
    found, start = (expected(run, each)["world"] for each in (thresholds(html)[index], 0.5))
    moved = {name: float(found[name]) - float(start[name]) for name in ("recall", "precision")}
    for first, last in (outline, dot):
        assert last[0] - first[0] == pytest.approx(
            scale[2] * moved["recall"] * (right - left) / (x1 - x0), abs=0.5
        )
        assert last[1] - first[1] == pytest.approx(
            scale[2] * moved["precision"] * (top - bottom) / (y1 - y0), abs=0.5
        )
    assert line[1][0] - line[0][0] > 20
    assert line[1][1] == pytest.approx(line[0][1], abs=0.1)


def test_the_slider_can_be_moved_by_keys_and_says_where_it_is(browser, report):
    file, html = report
    with opened(browser, file, width=1280, scheme="light") as page:
        slider = page.get_by_label("Threshold", exact=True)
        slider.focus()
        assert (
            slider.get_attribute("aria-valuetext")
            == "0.5, the model\N{RIGHT SINGLE QUOTATION MARK}s threshold"
        )
        page.keyboard.press("Home")
        value, where = slider.get_attribute("aria-valuetext").split(", ")
        assert float(value) == pytest.approx(thresholds(html)[0], rel=1e-3)
        assert where == "the model\N{RIGHT SINGLE QUOTATION MARK}s is 0.5"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("device", WIDTHS)
def test_the_page_is_accessible_and_fits_the_window(browser, report, scheme, device):
    with opened(browser, report[0], width=WIDTHS[device], scheme=scheme) as page:
        page.locator("summary").click()
        assert faults(page) == []
        assert overflow(page) == 0


def test_without_a_positive_prediction_the_dot_is_hidden_until_there_is_one(browser, tmp_path):
    run = some_run(tmp_path, positives=10, negatives=20)
    run.probabilities = run.probabilities * 0.4
    run.write().report()
    with opened(browser, tmp_path / "report" / "report.html", width=360, scheme="dark") as page:
        dot = page.locator("[data-moves='recall precision']").last
        assert shown(page, "world")["precision"] == "–"
        assert not dot.is_visible()
        page.locator("#threshold").fill("0")
        assert dot.is_visible()
