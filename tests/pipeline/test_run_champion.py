"""Which version a run is compared with, also if it is repeated."""

import json
import shutil

import pytest
from damage import halve
from model_folders import make_model

from components.code_version import project_version
from components.registry import VersionRecord, open_registry
from components.registry.record import Lineage
from pipeline import run_champion
from pipeline.retrain.loop import Loop
from pipeline.settings import load, preset_path

SETTINGS = load(preset_path("demo"))


class Runs:
    """Runs in one output folder, and a registry."""

    def __init__(self, root):
        self.root = root
        self.registry = open_registry(root / "registry")
        (root / "tfx").mkdir()

    def begin(self, data_version="1", settings=SETTINGS):
        return run_champion.find(
            settings, self.root, data_version=data_version, registry=self.registry
        )

    def release(self, text, settings=SETTINGS, code=None):
        model = make_model(self.root / text, text)
        lineage = Lineage(code_version=code or project_version())
        record = settings.model_dump(mode="json")
        self.registry.push(
            model,
            lambda number: VersionRecord(
                version=number, blessed=True, settings=record, lineage=lineage
            ),
        )


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path)


def test_a_run_that_is_repeated_after_its_release_has_the_same_champion(runs):
    assert runs.begin() == "none"
    runs.release("first")
    assert runs.begin() == "none"
    assert runs.begin(data_version="2") == "1"
    runs.release("second")
    assert runs.begin(data_version="2") == "1"


def test_a_run_with_other_data_or_settings_is_compared_with_the_version_that_serves(runs):
    runs.begin()
    runs.release("first")
    others = SETTINGS.model_copy(update={"name": "others"})
    assert runs.begin(settings=others) == "1"
    assert runs.begin() == "none"  # repeated, although another was begun in between
    runs.release("second", others)
    assert runs.begin() == "2"


def test_a_version_that_somebody_let_serve_since_is_the_champion(runs):
    runs.release("first")
    runs.begin()
    runs.release("second")
    assert runs.begin() == "1"
    runs.registry.rollback()
    assert runs.begin() == "1"
    runs.registry.promote(2)
    assert runs.begin() == "2"


@pytest.mark.parametrize("other", ["settings", "code"])
def test_a_version_that_another_pipeline_released_since_is_the_champion(runs, other):
    runs.begin()
    settings = SETTINGS.model_copy(update={"name": "others"}) if other == "settings" else SETTINGS
    runs.release("first", settings, code="other" if other == "code" else None)
    assert runs.begin() == "1"


@pytest.mark.parametrize("damage", [halve, lambda path: shutil.rmtree(path.parent)])
def test_a_run_whose_version_was_damaged_or_deleted_is_repeated_with_its_champion(runs, damage):
    runs.begin()
    runs.release("first")
    damage(runs.root / "registry" / "1" / "version.json")
    assert runs.begin() == "none"


def test_a_turn_of_retrain_that_was_killed_after_its_release_is_repeated_with_its_champion(runs):
    compared_with = []

    def run(champion):
        compared_with.append(champion)
        if len(compared_with) == 1:
            runs.release("second")
        raise KeyboardInterrupt

    runs.release("first")
    loop = Loop(
        output=runs.root,
        champion=runs.begin,
        run=run,
        has_lost=runs.registry.has_lost,
        title="dogs",
    )
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            loop.turn("key")
    assert compared_with == ["1", "1"]
    assert runs.registry.serving() == 2


def test_only_the_last_runs_are_kept(runs):
    for number in range(110):
        runs.begin(data_version=str(number))
    assert len(json.loads((runs.root / "tfx" / "champions.json").read_text())) == 100


def test_a_damaged_note_is_replaced(runs):
    (runs.root / "tfx" / "champions.json").write_text('{"key": "data 1"')
    assert runs.begin() == "none"
