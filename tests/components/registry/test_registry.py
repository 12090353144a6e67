"""What serves, and how that is changed; in a folder and in buckets alike."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from components.registry import Registry, RegistryError, VersionRecord
from components.registry.state import Entry
from components.stores import store_of


def changes(registry: Registry) -> list[tuple]:
    return [
        (entry.version, entry.previous, entry.action, entry.forced, entry.reason)
        for entry in registry.state().history
    ]


def test_an_empty_registry_serves_nothing(registry):
    assert (registry.versions(), registry.serving()) == ([], None)


def test_a_pushed_version_serves_and_has_its_record(registry, push):
    assert [push("a"), push("b")] == [1, 2]
    assert (registry.versions(), registry.serving()) == ([1, 2], 2)
    assert registry.record(2) == VersionRecord(version=2, blessed=True, reason="as judged")
    assert changes(registry) == [(1, None, "push", False, ""), (2, 1, "push", False, "")]
    at = registry.state().history[-1].at
    assert timedelta(0) <= datetime.now(UTC) - at < timedelta(minutes=1)


def test_a_rollback_points_to_the_version_before_and_copies_nothing(registry, push):
    for text in "abc":
        push(text)
    assert registry.rollback(reason="too many alerts") == registry.serving() == 2
    assert registry.versions() == [1, 2, 3]
    assert changes(registry)[-1] == (2, 3, "rollback", False, "too many alerts")


def test_a_second_rollback_goes_further_back_and_not_forward_again(registry, push):
    for text in "abc":
        push(text)
    assert [registry.rollback(), registry.rollback()] == [2, 1]
    with pytest.raises(RegistryError, match=r"no version to roll back to .*version 1, which serve"):
        registry.rollback()
    assert registry.serving() == 1


def test_a_promotion_is_taken_back_by_a_rollback(registry, push):
    for text in "abc":
        push(text)
    registry.promote(1, reason="fewer alerts")
    assert registry.serving() == 1
    assert changes(registry)[-1] == (1, 3, "promote", False, "fewer alerts")
    assert registry.rollback() == 3


def test_a_change_to_the_version_that_serves_changes_nothing(registry, push):
    push("a")
    before = registry.state()
    registry.promote(1)
    assert registry.rollback(to=1) == 1
    assert registry.state() == before


@pytest.mark.parametrize(
    "act", [lambda r: r.rollback(to=9), lambda r: r.promote(9), lambda r: r.verify(9)]
)
def test_a_version_that_does_not_exist_is_named_with_those_that_do(registry, push, act):
    push("a"), push("b")
    before = registry.state()
    with pytest.raises(RegistryError, match=r"version 9 is not in .*its versions: 1, 2\. Rec"):
        act(registry)
    assert registry.state() == before


@pytest.mark.parametrize(
    "act", [lambda r: r.rollback(), lambda r: r.promote(1), lambda r: r.prune(1)]
)
def test_a_registry_that_does_not_exist_is_not_made_by_a_change(registry, tmp_path, act):
    with pytest.raises(RegistryError, match="has no versions, or does not exist"):
        act(registry)
    assert registry.versions() == []
    assert not (tmp_path / "models").exists()


def test_a_version_that_was_never_blessed_is_promoted_by_force_only_which_is_recorded(
    registry, push
):
    push("a")
    assert push("b", blessed=False) == 2
    assert registry.serving() == 1
    with pytest.raises(RegistryError, match=r"version 2 of .* was never blessed; .*--force"):
        registry.promote(2)
    with pytest.raises(RegistryError, match="was never blessed, so it can't be rolled back to"):
        registry.rollback(to=2)
    assert registry.serving() == 1
    registry.promote(2, force=True, reason="a demonstration")
    assert registry.serving() == 2
    assert changes(registry)[-1] == (2, 1, "promote", True, "a demonstration")
    assert registry.rollback() == 1


def test_force_is_not_recorded_for_a_version_that_needs_none(registry, push):
    push("a"), push("b")
    registry.promote(1, force=True)
    assert changes(registry)[-1] == (1, 2, "promote", False, "")


def test_the_model_that_was_taken_back_is_not_served_again_by_a_repeated_run(registry, push):
    push("a"), push("b")
    registry.rollback()
    assert push("b") == 2
    assert push("a") == 1
    assert (registry.versions(), registry.serving()) == ([1, 2], 1)


def test_pruning_keeps_the_newest_the_serving_one_and_the_one_before_it(registry, push):
    for text in "abcdef":
        push(text)
    registry.promote(3)
    registry.promote(2)
    assert registry.prune(keep=1) == [1, 4, 5]
    assert registry.versions() == [2, 3, 6]
    assert registry.prune(keep=1) == []
    assert registry.rollback() == 3


def test_numbers_grow_also_after_the_newest_version_was_removed(registry, push):
    for text in "abc":
        push(text)
    registry.promote(1)
    registry.promote(2)
    assert registry.prune(keep=1) == []
    registry.promote(1)
    assert push("d") == 4
    assert registry.prune(keep=1) == [2, 3]
    assert push("c") == 5
    with pytest.raises(RegistryError, match="version 3 is not in"):
        registry.promote(3)


def test_a_damaged_version_neither_serves_nor_is_fetched(registry, push, tmp_path):
    push("a"), push("b")
    registry.promote(1)
    path = registry.uri("2/saved_model.pb")
    if (store := store_of(path)) is None:
        Path(path).write_bytes(b"grapg")
    else:
        store.write(path, b"grapg")
    for act in (lambda: registry.promote(2), lambda: registry.fetch(2, tmp_path / "copy")):
        with pytest.raises(
            RegistryError, match=r"/2 is damaged: saved_model.pb must have the SHA-256"
        ):
            act()
    assert registry.serving() == 1
    assert not list((tmp_path / "copy").glob("*"))
    assert push("b") == 3


def remove(registry: Registry, name: str) -> None:
    path = registry.uri(name)
    if (store := store_of(path)) is None:
        shutil.rmtree(path)
    else:
        store.delete(each.path for each in store.below(f"{path}/"))


def test_a_version_is_lost_if_it_serves_and_is_missing_or_if_the_registry_was_deleted(
    registry, push
):
    push("a"), push("b")
    assert not registry.has_lost(2)
    remove(registry, "1")
    assert not registry.has_lost(1)  # another one serves
    remove(registry, "2")
    assert registry.has_lost(2)
    remove(registry, "")
    assert registry.has_lost(2)


def test_a_version_that_was_taken_back_or_pruned_is_not_lost(registry, push):
    push("a"), push("b")
    registry.rollback()
    remove(registry, "2")
    assert not registry.has_lost(2)
    push("c"), push("d"), registry.prune(1)
    assert registry.versions() == [3, 4]
    assert not registry.has_lost(1)


def test_a_version_that_serves_is_lost_if_it_is_damaged(registry, push):
    push("a")
    path = registry.uri("1/saved_model.pb")
    if (store := store_of(path)) is None:
        Path(path).write_bytes(b"grapg")
    else:
        store.write(path, b"grapg")
    assert registry.has_lost(1)


def test_a_fetched_copy_that_was_damaged_is_fetched_again(registry, push, tmp_path):
    push("a")
    fetched = registry.fetch(1, tmp_path / "copy")
    if fetched.is_relative_to(tmp_path / "copy"):
        (fetched / "saved_model.pb").write_bytes(b"grapg")
        assert registry.fetch(1, tmp_path / "copy") == fetched
    assert (fetched / "saved_model.pb").read_bytes() == b"graph"


@pytest.mark.parametrize("keep", [0, -1])
def test_pruning_everything_is_refused(registry, push, keep):
    push("a")
    with pytest.raises(RegistryError, match=rf"at least 1 version\. Received: {keep}"):
        registry.prune(keep)
    assert registry.versions() == [1]


def test_a_fetched_version_has_its_files(registry, push, tmp_path):
    push("a")
    fetched = registry.fetch(1, tmp_path / "copy")
    assert (fetched / "variables" / "variables.data").read_bytes() == b"a"
    assert registry.fetch(1, tmp_path / "copy") == fetched
    assert registry.verify(1) == "not signed"


def test_keys_of_a_later_release_are_kept(registry, push):
    push("a")
    storage = registry._storage
    content, tag = storage.read_state()
    assert storage.swap_state(content.replace(b"{", b'{"owner": "us",', 1), tag)
    push("b")
    assert b'"owner":"us"' in storage.read_state()[0].replace(b" ", b"")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "Invalid JSON"),
        (b'{"schema_version": 2, "serving": 1}', "schema_version: .*use the release that wrote it"),
        (b'{"serving": "one"}', "serving: .*restore it from a backup"),
        (b"", "Invalid JSON"),
    ],
)
def test_a_damaged_pointer_is_named_and_not_replaced(registry, push, content, message):
    push("a")
    storage = registry._storage
    assert storage.swap_state(content, storage.read_state()[1])
    for act in (registry.serving, registry.rollback, lambda: push("b")):
        with pytest.raises(RegistryError, match=rf"registry\.json can't be read: .*{message}"):
            act()
    assert storage.read_state()[0] == content


def test_an_entry_is_valid_as_documented():
    entry = {
        "version": 7,
        "previous": 6,
        "action": "push",
        "at": "2026-11-27T10:00:00Z",
        "forced": False,
        "reason": "",
    }
    assert Entry.model_validate(entry).model_dump(mode="json") == entry
