"""Damaged, unsigned and wrongly signed versions are refused before they are loaded."""

import json
import tempfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from damage import empty, flip_a_bit, halve

from components.registry import RegistryError
from components.registry.signing import SIGNING_KEY, VERIFY_KEY
from pipeline.served_model import served_model


def write_keys(folder: Path, key: Ed25519PrivateKey) -> tuple[Path, Path]:
    folder.mkdir()
    private, public = folder / "private.pem", folder / "public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


@pytest.fixture
def kind() -> str:
    """Local: what a version has is checked in a local folder for every kind of registry."""
    return "local"


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return write_keys(tmp_path / "keys", Ed25519PrivateKey.generate())


@pytest.fixture
def signed(registry, push, keys, monkeypatch):
    """A registry with two signed versions."""
    monkeypatch.setenv(SIGNING_KEY, str(keys[0]))
    push("a"), push("b")
    monkeypatch.delenv(SIGNING_KEY)
    return registry


def replace(registry, name: str, change) -> None:
    """Changes a file of a version."""
    path = Path(registry.uri(name))
    path.write_bytes(change(path.read_bytes()))


def test_a_signed_version_is_verified_by_the_public_key(signed, keys, tmp_path, monkeypatch):
    assert signed.verify(2) == "not checked"
    monkeypatch.setenv(VERIFY_KEY, str(keys[1]))
    assert signed.verify(2) == "valid"
    assert signed.fetch(2, tmp_path / "copy").is_dir()


def test_without_a_key_readers_say_that_the_signature_is_not_checked(
    signed, push, tmp_path, caplog
):
    caplog.set_level("INFO", "outnumbered.registry")
    signed.fetch(2, tmp_path / "copy")
    assert "signature not checked" in caplog.text
    push("c")
    signed.fetch(3, tmp_path / "copy")
    assert "version 3 of" in caplog.text
    assert "not signed" in caplog.text


def test_with_a_key_an_unsigned_version_is_neither_loaded_nor_made_serving(
    registry, push, keys, tmp_path, monkeypatch
):
    push("a"), push("b")
    monkeypatch.setenv(VERIFY_KEY, str(keys[1]))
    for act in (
        lambda: registry.verify(1),
        lambda: registry.fetch(1, tmp_path / "copy"),
        registry.rollback,
        lambda: registry.promote(1, force=True),
    ):
        with pytest.raises(RegistryError, match=r"version 1 of .* must not be loaded: it is not s"):
            act()
    assert registry.serving() == 2
    assert not (tmp_path / "copy" / "1").exists()


def edited(content: bytes) -> bytes:
    record = json.loads(content)
    record["metrics"] = None
    record["reason"] = "better than any other"
    return json.dumps(record).encode()


def of_other_files(content: bytes) -> bytes:
    return json.dumps(json.loads(content) | {"signature": "0" * 86 + "=="}).encode()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("saved_model.pb", lambda _: b"other", "saved_model.pb must have the SHA-256"),
        ("saved_model.pb", lambda _: b"longer than before", "saved_model.pb must have 5 bytes"),
        ("version.json", edited, "version.json must have"),
        ("assets/operating_point.json", bytes.upper, "operating_point.json must have the SHA-256"),
        (
            "files.json",
            lambda text: text.replace(b"0", b"1"),
            "its signature doesn't match its fil",
        ),
        ("signature.json", of_other_files, "its signature doesn't match its files"),
        ("signature.json", lambda _: b"{", "signature.json can't be read"),
    ],
)
def test_a_file_of_a_signed_version_that_was_changed_is_refused(
    signed, keys, tmp_path, monkeypatch, name, change, message
):
    monkeypatch.setenv(VERIFY_KEY, str(keys[1]))
    signed.promote(1)
    replace(signed, f"2/{name}", change)
    with pytest.raises(RegistryError, match=message):
        signed.fetch(2, tmp_path / "copy")
    with pytest.raises(RegistryError, match=message):
        signed.promote(2)
    assert signed.serving() == 1
    assert not (tmp_path / "copy").exists() or not list((tmp_path / "copy").iterdir())


@pytest.mark.parametrize("name", ["assets.extra/tf_serving_warmup_requests", "note.txt"])
def test_a_file_that_was_added_to_a_signed_version_is_refused(
    signed, keys, tmp_path, monkeypatch, name
):
    added = Path(signed.uri(2), name)
    added.parent.mkdir(exist_ok=True)
    added.write_text("not by whoever signed the version")
    assert signed.verify(2) == "not checked"
    monkeypatch.setenv(VERIFY_KEY, str(keys[1]))
    for act in (
        signed.verify,
        lambda version: signed.fetch(version, tmp_path / "copy"),
        lambda version: served_model(signed.uri(version), tmp_path / "copy"),
    ):
        with pytest.raises(RegistryError, match=f"{name} is not in files.json, so it is not sig"):
            act(2)
    assert signed.verify(1) == "valid"


def test_a_version_under_the_number_of_another_is_refused(signed, keys, monkeypatch):
    monkeypatch.setenv(VERIFY_KEY, str(keys[1]))
    for name in ("version.json", "files.json", "signature.json", "variables/variables.data"):
        replace(
            signed, f"2/{name}", lambda _, name=name: Path(signed.uri(f"1/{name}")).read_bytes()
        )
    with pytest.raises(RegistryError, match=r"version\.json is that of version 1"):
        signed.verify(2)


def test_a_version_signed_with_another_key_is_refused(signed, tmp_path, monkeypatch):
    _, other = write_keys(tmp_path / "other", Ed25519PrivateKey.generate())
    monkeypatch.setenv(VERIFY_KEY, str(other))
    with pytest.raises(RegistryError, match="it is signed with another key: "):
        signed.verify(2)


@pytest.mark.parametrize("name", ["saved_model.pb", "files.json", "version.json"])
def test_a_damaged_version_is_named_and_the_registry_stays_as_it_was(
    registry, push, tmp_path, name
):
    push("a"), push("b")
    registry.promote(1)
    before = registry.state()
    for damage in (flip_a_bit, halve, empty):
        replace(registry, f"2/{name}", lambda content, damage=damage: damaged(content, damage))
        for act in (lambda: registry.promote(2), lambda: registry.fetch(2, tmp_path / "copy")):
            with pytest.raises(RegistryError, match=r"/2 is damaged: .*\. Roll back to another"):
                act()
    assert registry.state() == before
    assert push("b") == 3


def damaged(content: bytes, damage) -> bytes:
    with tempfile.NamedTemporaryFile() as file:
        path = Path(file.name)
        path.write_bytes(content)
        damage(path)
        return path.read_bytes()


@pytest.mark.parametrize("variable", [SIGNING_KEY, VERIFY_KEY])
def test_a_file_that_is_no_key_is_refused_before_anything_is_done(
    registry, push, tmp_path, monkeypatch, variable
):
    path = tmp_path / "key.pem"
    other = generate_private_key(SECP256R1())
    push("a")
    for content in (
        None,
        b"no key",
        other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ):
        if content is not None:
            path.write_bytes(content)
        monkeypatch.setenv(variable, str(path))
        with pytest.raises(
            RegistryError, match=rf"{variable} must be the file of .*openssl genpkey"
        ):
            push("b") if variable == SIGNING_KEY else registry.verify(1)
    monkeypatch.delenv(variable)
    assert registry.versions() == [1]
