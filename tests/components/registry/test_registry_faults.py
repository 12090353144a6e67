"""A push through an unreliable store is complete; one that the store refuses leaves nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_bucket import SCHEMES, faulty_bucket
from model_folders import make_model, recorded

from benchmarks.faults.faulty_store import Fault, FaultyStore, Unreliable
from components.registry import RegistryError, open_registry
from components.stores import store_of


@pytest.fixture(scope="module", params=SCHEMES)
def store(request: pytest.FixtureRequest) -> Iterator[tuple[str, FaultyStore]]:
    """A bucket's URI, and the proxy in front of it, which the environment names."""
    with faulty_bucket(request.param, "models") as found:
        yield found


@pytest.fixture
def proxy(store: tuple[str, FaultyStore]) -> Iterator[FaultyStore]:
    yield store[1]
    store[1].clear()


@pytest.fixture
def root(store: tuple[str, FaultyStore], tmp_path: Path) -> str:
    return f"{store[0]}/of{tmp_path}"


def test_a_push_through_an_unreliable_store_is_complete(root, proxy, tmp_path):
    registry = open_registry(root)
    proxy.unreliable = Unreliable(1)
    pushed = registry.push(make_model(tmp_path / "model"), recorded(blessed=True))
    assert len(proxy.unreliable.hits) >= 6
    assert {verb for verb, _ in proxy.unreliable.hits} >= {"GET", "PUT"}
    proxy.clear()
    assert (registry.versions(), registry.serving()) == ([1], pushed.version)
    registry.verify(1)


def test_a_push_that_the_store_refuses_is_named_and_leaves_nothing(root, proxy, tmp_path):
    registry = open_registry(root)
    proxy.fault = Fault("PUT", "503", first=3, times=None)
    with pytest.raises((RegistryError, OSError), match=rf"{root}/1/.* can't be read or written"):
        registry.push(make_model(tmp_path / "model"), recorded(blessed=True))
    proxy.clear()
    assert store_of(root).below(f"{root}/1/") == []
    assert registry.push(tmp_path / "model", recorded(blessed=True)).version == 1


@pytest.mark.parametrize("first", [1, 2, 3])
def test_a_folder_that_could_not_be_added_is_added_by_the_next_try(root, proxy, tmp_path, first):
    for name in ("a", "b", "last"):
        (tmp_path / "schema").mkdir(exist_ok=True)
        (tmp_path / "schema" / name).write_text(name)
    registry = open_registry(root)
    proxy.fault = Fault("PUT", "503", first=first, times=None)
    with pytest.raises((RegistryError, OSError), match=f"{root}/schema/"):
        registry.add_folder(tmp_path / "schema", "schema", last="last")
    proxy.clear()
    assert registry.add_folder(tmp_path / "schema", "schema", last="last")
    assert not registry.add_folder(tmp_path / "schema", "schema", last="last")
    assert len(store_of(root).below(f"{root}/schema/")) == 3
