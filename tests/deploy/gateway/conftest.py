import pytest
from gateway_under_test import running
from serving_stand_in import StandIn

from components.images.rules import ReadingRules


def write_rules(registry, version, **rules):
    """Gives a version of a registry its reading rules."""
    path = registry / str(version) / "assets" / "reading_rules.json"
    path.parent.mkdir(parents=True)
    path.write_text(ReadingRules(image_size=32, pixel_range=(0.0, 1.0), **rules).to_json())


@pytest.fixture
def registry(tmp_path):
    """A registry whose model 1 takes images up to 40 pixels."""
    write_rules(tmp_path, 1, max_side=40)
    return tmp_path


@pytest.fixture
def stand_in():
    """A model server that listens."""
    found = StandIn()
    found.start()
    yield found
    found.stop()


@pytest.fixture
def client(registry, stand_in):
    """A client of a gateway before the model server."""
    with running(registry, stand_in.target) as found:
        yield found
