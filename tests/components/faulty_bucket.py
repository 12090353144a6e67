"""A bucket behind a proxy that injects faults, whose clients give up soon."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from stores_on_localhost import amazon, google

from benchmarks.faults.faulty_store import FaultyStore, faulty_store
from components import stores

_STORES = {"s3": (amazon, "AWS_ENDPOINT_URL"), "gs": (google, "STORAGE_EMULATOR_HOST")}
SCHEMES = tuple(_STORES)
ADDRESSES = {scheme: address for scheme, (_, address) in _STORES.items()}


@contextmanager
def faulty_bucket(
    scheme: str, bucket: str, *, delay_seconds: float = 0.01
) -> Iterator[tuple[str, FaultyStore]]:
    """Yields the URI of a bucket, and the proxy in front of it, which the environment names."""
    server, address = _STORES[scheme]
    with (
        server(bucket) as variables,
        faulty_store(urlsplit(variables[address]).port) as proxy,
        pytest.MonkeyPatch.context() as patch,
    ):
        proxy.delay_seconds = delay_seconds
        for name, value in {**variables, address: proxy.url, "AWS_MAX_ATTEMPTS": "2"}.items():
            patch.setenv(name, value)
        patch.setattr(stores, "_PAUSE_SECONDS", 0)
        patch.setattr(stores, "_GOOGLE_FIRST_PAUSE_SECONDS", 0.01)
        patch.setattr(stores, "_GOOGLE_RETRY_SECONDS", 0.2)
        yield f"{scheme}://{bucket}", proxy
