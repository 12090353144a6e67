"""Fixtures for the tests of several components."""

import pytest


@pytest.fixture(scope="session")
def first_data():
    """Statistics of the images of a first blessed run, with ten cats per dog."""
    from image_statistics import statistics

    return statistics({"cats": 1650, "dogs": 165})
