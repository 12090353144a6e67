"""Prism, Beam's portable engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prism_process import program, running_prism


@pytest.fixture(scope="session")
def prism_program() -> Path:
    """The program of Prism."""
    return program()


@pytest.fixture(scope="session")
def prism(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Starts Prism, and yields the address of its job service."""
    with running_prism(tmp_path_factory.mktemp("prism") / "log") as address:
        yield address
