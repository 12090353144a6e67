import pytest

from components.image_example_gen.sources import SourceError


def test_the_span_stands_in_for_its_place_in_the_source(photos, ingest):
    photos.rename(photos.with_name("photos-7"))
    found = ingest(photos.with_name("photos-{SPAN}"), span="7")
    assert found.examples


def test_a_source_with_a_place_for_a_span_wants_one(photos, ingest):
    with pytest.raises(SourceError, match="has a place for a span, and none was given"):
        ingest(photos.with_name("photos-{SPAN}"))
