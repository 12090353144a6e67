"""When a champion may have been trained on images that are test images by now."""

import pytest

from components.evaluator.champion_caution import CAUTION, Drawn, caution
from components.registry import VersionRecord
from components.registry.record import Data, Span

DIGESTS = {"one": "1" * 64, "two": "2" * 64}
SAMPLER = {"assignment": "exact", "random_state": 42, "splits": {"test": {"dogs": 10}}}
STABLE = {**SAMPLER, "assignment": "stable"}


def champion(sampler, data="one"):
    span = Span(span="6", images=100, positives=10, digest=DIGESTS[data])
    fingerprint = Data(spans=[span], images=100, positives=10, digest=DIGESTS[data])
    return VersionRecord(version=1, settings={"sampler": sampler}, data=fingerprint)


@pytest.mark.parametrize(
    ("record", "sampler", "data"),
    [
        (champion(SAMPLER), SAMPLER, "one"),
        (champion(STABLE), STABLE, "two"),
        (champion(SAMPLER), {**SAMPLER, "a key of this release": 1}, "one"),
    ],
)
def test_test_images_stay_apart_in_the_same_or_a_stable_split(record, sampler, data):
    assert caution(record, Drawn(sampler, DIGESTS[data])) is None


@pytest.mark.parametrize(
    ("record", "sampler", "data"),
    [
        (champion(SAMPLER), SAMPLER, "two"),
        (champion(SAMPLER), {**SAMPLER, "random_state": 7}, "one"),
        (champion(SAMPLER), STABLE, "one"),
        (champion(STABLE), SAMPLER, "one"),
        (champion(STABLE), {**STABLE, "random_state": 7}, "two"),
        (champion(STABLE), {**STABLE, "splits": {"test": {"dogs": 20}}}, "two"),
        (VersionRecord(version=1), SAMPLER, "one"),
        (None, STABLE, "one"),
    ],
)
def test_another_split_is_a_caution(record, sampler, data):
    assert caution(record, Drawn(sampler, DIGESTS[data])) == CAUTION


def test_images_of_a_span_that_the_champion_did_not_have_are_new_to_it():
    drawn = Drawn(SAMPLER, DIGESTS["two"])
    assert caution(champion(SAMPLER), drawn, span="7") is None
    assert caution(champion(SAMPLER), drawn, span="6") == CAUTION


def test_nothing_is_said_if_it_is_not_known_how_the_split_was_drawn():
    assert caution(None, None) is None
