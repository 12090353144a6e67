"""What several components' tests begin with."""

import pytest


@pytest.fixture(scope="session")
def first_data():
    """Statistics of the images of a first blessed run: ten cats to a dog."""
    from image_statistics import statistics

    return statistics({"cats": 1650, "dogs": 165})
