"""Changes in a share of the images that are detected, and those that are not."""

import numpy as np
import pytest

from components.example_validator.shares import drifted

THRESHOLD = 0.05


def drifted_values(before, now, threshold=THRESHOLD):
    return [share.value for share in drifted(before, now, threshold)]


def draw(rng, images, shares):
    counts = rng.multinomial(images, list(shares.values()))
    return dict(zip(shares, counts.tolist(), strict=True))


@pytest.mark.parametrize("images", [60, 400, 5000])
@pytest.mark.parametrize(
    "shares",
    [
        {"cats": 0.5, "dogs": 0.5},
        {"cats": 10 / 11, "dogs": 1 / 11},
        {"cats": 0.7, "birds": 0.29, "dogs": 0.01},
    ],
)
def test_sampling_noise_is_no_drift(images, shares):
    rng = np.random.default_rng(7)
    alarms = sum(
        bool(drifted(draw(rng, 1000, shares), draw(rng, images, shares), THRESHOLD))
        for _ in range(300)
    )
    # At most one in a thousand is expected, so more than two in 300 have a probability of 1/250.
    assert alarms <= 2


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        (0.5, 0.56, ["dogs", "cats"]),
        (0.5, 0.54, []),
        (0.01, 0.021, ["dogs"]),
        (0.01, 0.019, []),
        (0.01, 0.0045, ["dogs"]),
        (0.01, 0.0055, []),
    ],
)
def test_a_large_share_may_change_by_the_threshold_and_a_small_one_less_than_twofold(
    before, now, found
):
    def counts(share):
        dogs = round(20_000 * share)
        return {"dogs": dogs, "cats": 20_000 - dogs}

    assert set(drifted_values(counts(before), counts(now))) == set(found)


def test_a_change_is_detected_with_many_images_but_not_with_few():
    before = {"dogs": 165, "cats": 1650}
    assert drifted_values(before, {"dogs": 5, "cats": 20}) == []
    assert drifted_values(before, {"dogs": 50, "cats": 200}) == ["dogs", "cats"]


def test_a_greater_threshold_accepts_the_change():
    before, now = {"dogs": 165, "cats": 1650}, {"dogs": 400, "cats": 1650}
    assert drifted_values(before, now) == ["dogs", "cats"]
    assert drifted_values(before, now, threshold=0.15) == []


def test_values_only_in_the_later_data_do_not_change_the_shares_of_the_others():
    before, now = {"dogs": 165, "cats": 1650}, {"dogs": 165, "cats": 1650, "foxes": 1000}
    assert drifted_values(before, now) == []
    assert drifted_values({"foxes": 3}, {"cats": 3}) == []


def test_a_share_has_its_counts_before_and_now():
    (dogs, _) = drifted({"dogs": 165, "cats": 1650}, {"dogs": 400, "cats": 1600}, THRESHOLD)
    assert (dogs.before, dogs.of_before, dogs.now, dogs.of_now) == (165, 1815, 400, 2000)
    assert dogs.change == pytest.approx(0.2 - 165 / 1815)
