"""docs/settings.md is up to date."""

from pipeline.settings_reference import PATH, reference


def test_the_page_is_up_to_date():
    assert PATH.read_text(encoding="utf-8") == reference(), (
        "run `python -m pipeline.settings_reference`"
    )
