from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from model_folders import make_model, recorded
from stores_on_localhost import amazon, google

from components.registry import Registry, open_registry

STORES = {"s3": amazon, "gs": google}


@pytest.fixture(scope="package", params=["local", "s3", "gs"])
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where registries are; the environment names the server of a store."""
    if request.param == "local":
        yield request.param
        return
    with STORES[request.param]("models") as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield request.param


@pytest.fixture
def root(kind: str, tmp_path: Path) -> str:
    """A registry that does not exist yet."""
    return str(tmp_path / "models") if kind == "local" else f"{kind}://models/of{tmp_path}"


@pytest.fixture
def registry(root: str) -> Registry:
    return open_registry(root)


@pytest.fixture
def push(registry: Registry, tmp_path: Path) -> Callable[..., int]:
    """Pushes models with different weights; returns the version."""

    def push_one(text: str, *, blessed: bool = True) -> int:
        model = tmp_path / f"model {text}"
        if not model.exists():
            make_model(model, text)
        return registry.push(model, recorded(blessed=blessed)).version

    return push_one
