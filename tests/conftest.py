"""Hypothesis for all tests: the same examples in each run, and no limit of time.

Files with the longest tests come first, so that no worker starts one when the others are done.
"""

import pytest
from hypothesis import HealthCheck, settings

_LONGEST = ("end_to_end", "kubeflow/test_launcher", "engines", "benchmarks")

settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],  # on a busy machine every test is slow
)
settings.load_profile("steady")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves the files of whole runs to the front, in the order of `_LONGEST`."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    found = (at for at, name in enumerate(_LONGEST) if f"tests/{name}" in item.nodeid)
    return next(found, len(_LONGEST))
