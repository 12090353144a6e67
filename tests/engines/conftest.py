"""Prism, Beam's portable engine, and processes that are its workers."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def prism_program() -> Path:
    """The program, which `make engines` fetches."""
    from apache_beam.version import __version__

    program = _ROOT / ".engines" / f"prism-{__version__}"
    if not program.exists():
        pytest.skip("Prism is not there; `make engines` fetches it, if Go is installed")
    return program


@pytest.fixture(scope="session")
def prism(prism_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Starts Prism, and yields the address of its job service."""
    # Prism keeps cores busy while it waits for bundles without outputs: one at most, if it is idle.
    command = ["nice", str(prism_program), "--job_port=0", "--serve_http=false", "--log_kind=json"]
    log = tmp_path_factory.mktemp("prism") / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stderr=out, env={**os.environ, "GOMAXPROCS": "1"})
    try:
        yield _address(process, log)
    finally:
        process.kill()
        process.wait()


def _address(process: subprocess.Popen, log: Path) -> str:
    while process.poll() is None:
        for line in log.read_text().splitlines():
            if endpoint := json.loads(line).get("endpoint"):
                return str(endpoint)
    raise AssertionError(f"Prism has ended: {log.read_text()}")
