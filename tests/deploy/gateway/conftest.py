import pytest
from gateway_under_test import running, write_rules
from serving_stand_in import StandIn


@pytest.fixture
def registry(tmp_path):
    """A registry with version 1, which scales images down to 40 pixels."""
    write_rules(tmp_path, 1, max_side=40)
    return tmp_path


@pytest.fixture
def stand_in():
    """A model server that is listening."""
    found = StandIn()
    found.start()
    yield found
    found.stop()


@pytest.fixture
def client(registry, stand_in):
    """A client of a gateway in front of the model server."""
    with running(registry, stand_in.target) as found:
        yield found
