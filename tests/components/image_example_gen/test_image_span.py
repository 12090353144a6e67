import pytest

from components.image_example_gen.sources import SourceError


def test_the_span_replaces_its_placeholder_in_the_source(photos, ingest):
    photos.rename(photos.with_name("photos-7"))
    found = ingest(photos.with_name("photos-{SPAN}"), span="7")
    assert found.examples


def test_a_source_with_a_placeholder_for_a_span_requires_one(photos, ingest):
    with pytest.raises(SourceError, match=r"requires a span.* Received: ''"):
        ingest(photos.with_name("photos-{SPAN}"))
