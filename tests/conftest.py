"""Hypothesis for all tests: the same examples in each run, and no limit of time."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],  # on a busy machine every test is slow
)
settings.load_profile("steady")
