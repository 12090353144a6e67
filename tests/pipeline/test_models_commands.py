"""`outnumbered models`: what is printed, exit codes, and which registry is meant."""

import json
from pathlib import Path

import pytest
from model_folders import make_model, recorded
from typer.testing import CliRunner

from components.registry import Registry, open_registry
from pipeline.cli import app


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Two blessed versions and one that is not, in the registry of the output folder `runs`."""
    found = open_registry(tmp_path / "runs" / "registry")
    for text, blessed in (("a", True), ("b", True), ("c", False)):
        found.push(make_model(tmp_path / text, text), recorded(blessed=blessed))
    return found


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["models", *map(str, arguments)])
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


def as_json(registry: Registry, *arguments: object) -> dict:
    code, out, err = run(*arguments, "--registry", registry.root, "--json")
    assert code == 0, err
    return json.loads(out)


def test_the_versions_are_listed_and_the_serving_one_marked(registry):
    found = as_json(registry, "list")
    assert (found["registry"], found["serving"]) == (registry.root, 2)
    rows = [(row["version"], row["serving"], row["blessed"]) for row in found["versions"]]
    assert rows == [(1, False, True), (2, True, True), (3, False, False)]
    code, out, _ = run("list", "--registry", registry.root)
    assert code == 0
    assert [line for line in out.splitlines() if "yes" in line]


def test_a_version_is_shown_with_its_record_and_history(registry):
    found = as_json(registry, "show")
    assert (found["version"], found["serving"]) == (2, True)
    assert found["record"]["reason"] == "as judged"
    assert [entry["action"] for entry in found["history"]] == ["push"]
    assert as_json(registry, "show", 1)["uri"] == registry.uri(1)
    _, out, _ = run("show", 1, "--registry", registry.root)
    assert "reason: as judged" in out


def test_a_rollback_and_a_promotion_change_what_serves(registry):
    assert as_json(registry, "rollback", "--reason", "too many alerts")["serving"] == 1
    assert registry.serving() == 1
    assert as_json(registry, "promote", 2)["serving"] == 2
    assert as_json(registry, "rollback", "--to", 1)["serving"] == 1
    reasons = [entry.reason for entry in registry.state().history]
    assert reasons[3] == "too many alerts"


def test_a_version_that_was_never_blessed_needs_force(registry):
    code, out, err = run("promote", 3, "--registry", registry.root, "--json")
    assert code == 1
    assert "was never blessed" in err
    assert json.loads(out)["status"] == "failed"
    assert registry.serving() == 2
    assert as_json(registry, "promote", 3, "--force")["serving"] == 3
    assert registry.state().history[-1].forced


def test_a_version_that_does_not_exist_is_named(registry):
    code, _, err = run("rollback", "--to", 9, "--registry", registry.root)
    assert code == 1
    assert "version 9 is not in" in err


@pytest.mark.parametrize("command", ["show", "verify"])
def test_a_registry_without_versions_is_not_shown_or_verified(tmp_path, command):
    code, out, err = run(command, "--registry", tmp_path / "other")
    assert (code, out) == (1, "")
    assert "other has no versions, or does not exist" in err


def test_a_registry_without_versions_is_named_instead_of_an_empty_list(tmp_path):
    code, out, _ = run("list", "--registry", tmp_path / "other")
    assert code == 0
    assert "other has no versions, or does not exist" in " ".join(out.split())


def test_old_versions_are_pruned(registry):
    registry.push(make_model(Path(registry.root).parent / "d", "d"), recorded())
    assert as_json(registry, "prune", "--keep", 1)["removed"] == [1, 3]
    assert run("prune", "--keep", 1, "--registry", registry.root)[:2] == (0, "removed: none\n")


def test_a_damaged_version_fails_the_verification_and_the_others_are_checked(registry):
    assert [row["problem"] for row in as_json(registry, "verify")["versions"]] == [None] * 3
    Path(registry.uri(2), "saved_model.pb").write_text("grapg")
    code, out, _ = run("verify", "--registry", registry.root)
    assert code == 1
    lines = out.splitlines()
    assert lines[0] == "1: intact, not signed"
    assert "2 is damaged: saved_model.pb" in lines[1]
    assert lines[2].startswith("3: intact")


def test_without_an_option_the_registry_is_that_of_the_output_folder(
    registry, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert json.loads(run("list", "--json")[1])["registry"] == registry.root
    code, out, _ = run("list", "--json", "--preset", "demo", "--output", "runs")
    assert (code, json.loads(out)["registry"]) == (0, registry.root)
    given = ("--preset", "demo", "--set", f"pusher.registry={registry.root}", "--output", "other")
    assert json.loads(run("list", "--json", *given)[1])["serving"] == 2


@pytest.mark.parametrize("given", ["ftp://host/models", "", "s3://"])
def test_a_registry_that_can_not_be_one_is_refused(given):
    code, _, err = run("list", "--registry", given)
    assert code == 2
    assert "--registry must" in err


def test_versions_are_tracked_only_with_servers_and_a_failure_ends_with_1(registry):
    given = ("track", "--registry", registry.root, "--preset", "demo")
    code, _, err = run(*given)
    assert code == 2
    assert "tracking.mlflow or tracking.model_registry is required" in err
    down = ("--set", "tracking.model_registry.address=http://127.0.0.1:9")
    code, out, _ = run(*given, *down)
    assert code == 1
    assert out.startswith("the Model Registry at http://127.0.0.1:9: ")


def test_a_rollback_stands_if_the_server_that_tracks_it_is_down(registry):
    down = ("--set", "tracking.model_registry.address=http://127.0.0.1:9")
    code, out, err = run("rollback", "--registry", registry.root, "--preset", "demo", *down)
    assert (code, registry.serving()) == (0, 1)
    assert out.startswith("version 1 serves: ")
    assert "warning: version 1 serves, but it is not registered with the Model Registry" in err
