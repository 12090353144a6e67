"""Rate limits, capacities, tokens, and the settings from the environment."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RequestError
from gateway.limits import Capacity, TokenBuckets, Tokens
from gateway.settings import Settings, SettingsError, from_environment

REQUIRED = {
    "OUTNUMBERED_GATEWAY_REGISTRY": "/models",
    "OUTNUMBERED_GATEWAY_UPSTREAM": "unix:/run/serving.sock",
}


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@given(waits=st.lists(st.floats(0, 3), min_size=1, max_size=60))
def test_no_period_has_more_requests_than_burst_and_rate_allow(waits):
    clock = Clock()
    buckets, taken = TokenBuckets(rate=2, burst=3, clock=clock), []
    for wait in waits:
        clock.now += wait
        with contextlib.suppress(RequestError):
            buckets.take("a")
            taken.append(clock.now)
    for first, start in enumerate(taken):
        for last, end in enumerate(taken[first:], first):
            assert last - first + 1 <= 3 + 2 * (end - start) + 1e-6


def test_a_client_is_admitted_after_retry_after_and_others_are_not_limited():
    clock = Clock()
    buckets = TokenBuckets(rate=4, burst=1, clock=clock)
    buckets.take("a")
    buckets.take("b")
    with pytest.raises(RequestError) as caught:
        buckets.take("a")
    assert (caught.value.status, caught.value.retry_after) == (429, 0.25)
    clock.now += caught.value.retry_after
    buckets.take("a")


def test_the_number_of_buckets_is_limited():
    buckets = TokenBuckets(rate=1, burst=1, clock=Clock())
    for number in range(20_000):
        buckets.take(str(number))
    assert len(buckets._buckets) == 10_000


def test_a_rate_of_zero_means_no_limit():
    buckets = TokenBuckets(rate=0, burst=1, clock=Clock())
    for _ in range(100):
        buckets.take("a")


def test_units_used_by_others_raise_503_with_retry_after():
    capacity = Capacity(3, "requests in progress")
    with capacity.share(2), pytest.raises(RequestError) as caught, capacity.share(2):
        pass
    assert (caught.value.status, caught.value.retry_after) == (503, 1)


def test_more_units_than_the_capacity_raise_413_without_retry_after():
    with pytest.raises(RequestError) as caught, Capacity(3, "bytes in memory").share(2) as share:
        share.acquire(2)
    assert (caught.value.status, caught.value.retry_after) == (413, None)


def test_a_share_releases_its_units_after_an_error():
    capacity = Capacity(3, "bytes in memory")
    with contextlib.suppress(RequestError), capacity.share(1) as share:
        share.acquire(2)
        assert capacity.used == 3
        share.acquire(1)
    assert capacity.used == 0


@pytest.mark.parametrize("given", ["Bearer one", "bearer two", "Bearer  two "])
def test_each_token_is_accepted(given):
    Tokens(["one", "two"]).check(given)


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer ", "Bearer on", "Bearer three", "Basic one", "one"]
)
def test_other_authorization_is_refused(given):
    with pytest.raises(RequestError) as caught:
        Tokens(["one", "two"]).check(given)
    assert caught.value.status == 401
    assert "three" not in caught.value.message


def test_the_rate_limit_is_per_valid_token_or_else_per_address():
    tokens = Tokens(["one", "two"])
    assert tokens.client_key("Bearer one", "1.1.1.1") == tokens.client_key("Bearer one", "2.2.2.2")
    assert tokens.client_key("Bearer one", "1.1.1.1") != tokens.client_key("Bearer two", "1.1.1.1")
    assert tokens.client_key("Bearer x", "1.1.1.1") == tokens.client_key("Bearer y", "1.1.1.1")
    assert tokens.client_key("", "1.1.1.1") != tokens.client_key("", "2.2.2.2")


def test_without_tokens_every_request_is_admitted():
    Tokens([]).check("")


def test_the_environment_sets_every_kind_of_setting(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("one\ntwo\n")
    found = from_environment(
        {
            **REQUIRED,
            "OUTNUMBERED_GATEWAY_PORT": "9000",
            "OUTNUMBERED_GATEWAY_RATE": "0",
            "OUTNUMBERED_GATEWAY_BODY_TIMEOUT": "2.5",
            "OUTNUMBERED_GATEWAY_TOKENS_FILE": str(tokens),
            "PATH": "/bin",
        }
    )
    assert (found.port, found.rate, found.body_timeout) == (9000, 0, 2.5)
    assert found.tokens() == ["one", "two"]
    assert found.model_name == Settings.model_name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "0"),
        ("DECODERS", "1.5"),
        ("RATE", "-1"),
        ("RATE", "nan"),
        ("RATE", "inf"),
        ("REGISTRY", ""),
        ("MAX_BODY_BITES", "3"),
        ("MAX_BODY_BYTES", "999999999999"),
    ],
)
def test_an_invalid_setting_raises_an_error_that_names_it(name, value):
    with pytest.raises(SettingsError, match=f"OUTNUMBERED_GATEWAY_.*{name}|{name}"):
        from_environment({**REQUIRED, f"OUTNUMBERED_GATEWAY_{name}": value})


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_tokens_file_without_tokens_raises_an_error(tmp_path, content):
    path = tmp_path / "tokens"
    if content is not None:
        path.write_text(content)
    settings = from_environment({**REQUIRED, "OUTNUMBERED_GATEWAY_TOKENS_FILE": str(path)})
    with pytest.raises(SettingsError, match="TOKENS_FILE"):
        settings.tokens()
