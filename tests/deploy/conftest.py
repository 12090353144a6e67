import pytest
import yaml
from cluster_objects import DEPLOY, OVERLAYS, build, render


@pytest.fixture(params=OVERLAYS)
def rendered(request):
    """The objects of each overlay."""
    return render(request.param)


@pytest.fixture
def jobs():
    """The Jobs that an operator creates manually, outside the overlays."""
    return [yaml.safe_load(path.read_text()) for path in sorted((DEPLOY / "jobs").glob("*.yaml"))]


@pytest.fixture(scope="session")
def engine():
    """The objects of the Flink cluster, and the Job of a run on it."""
    run = yaml.safe_load((DEPLOY / "engines" / "flink-run.yaml").read_text())
    return [*build(DEPLOY / "engines" / "flink"), run]
