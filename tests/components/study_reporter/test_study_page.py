"""The study's page in a browser: it runs without errors, and is accessible."""

import json

import pytest
from browser import SCHEMES, WIDTHS, chromium, faults, needs_chromium, opened, overflow

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("device", WIDTHS)
def test_the_page_is_accessible_and_fits_the_window(browser, shifted, scheme, device):
    file = shifted[1] / "study.html"
    with opened(browser, file, width=WIDTHS[device], scheme=scheme) as page:
        for summary in page.locator("summary").all():
            summary.click()
        assert faults(page) == []
        assert overflow(page) == 0


def test_the_slider_moves_every_arm(browser, shifted):
    _, folder, study = shifted
    pooled = study["pooled"]["splits"]["test"]
    with opened(browser, folder / "study.html", width=1280, scheme="light") as page:
        page.locator("#pooled-threshold").fill("90")
        rows = page.locator("tr[data-pooled]").all()
        assert len(rows) == len(pooled) == 3
        for row in rows:
            counts = pooled[json.loads(row.get_attribute("data-pooled"))[1]]
            for name in ("tp", "fp", "tn", "fn"):
                cell = row.locator(f"[data-figure={name}]")
                assert cell.text_content().strip() == f"{counts[name][89]:,}"
