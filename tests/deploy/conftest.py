import pytest
import yaml
from cluster_objects import DEPLOY, OVERLAYS, render


@pytest.fixture(params=OVERLAYS)
def rendered(request):
    """The objects of each overlay."""
    return render(request.param)


@pytest.fixture
def jobs():
    """The Jobs that an operator creates manually, outside the overlays."""
    return [yaml.safe_load(path.read_text()) for path in sorted((DEPLOY / "jobs").glob("*.yaml"))]
