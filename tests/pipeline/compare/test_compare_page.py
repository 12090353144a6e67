"""The page of a comparison in a browser: it has no errors and is accessible."""

from browser import SCHEMES, WIDTHS, chromium, faults, needs_chromium, opened, overflow
from test_compare_command import compare, write_run

pytestmark = needs_chromium


def test_the_page_is_accessible_and_fits_the_window(tmp_path):
    runs = [
        write_run(tmp_path / str(gain) / "runs" / "1", gain=gain, epochs=epochs)
        for gain, epochs in ((0.0, 2), (0.4, 9))
    ]
    assert compare(tmp_path, *runs).exit_code == 0
    file = tmp_path / "comparison" / "comparison.html"
    with chromium() as browser:
        for scheme in SCHEMES:
            for width in WIDTHS.values():
                with opened(browser, file, width=width, scheme=scheme) as page:
                    for summary in page.locator("summary").all():
                        summary.click()
                    assert faults(page) == [], (scheme, width)
                    assert overflow(page) == 0, (scheme, width)
