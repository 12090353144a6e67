"""Signatures of versions: Ed25519 over the list of a version's files, which has their digests.

The list, `files.json`, has the digest of every file of the model and of its record, so that the
signature in `signature.json` is over all of them.
"""

import base64
import binascii
import hashlib
import os
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import ValidationError

from components import artifact_files
from components.artifact_files import LIST_FILE
from components.registry.errors import RegistryError
from components.registry.record import Part

SIGNATURE_FILE = "signature.json"
SIGNING_KEY = "OUTNUMBERED_SIGNING_KEY"
"""Environment variable: file of the private key (PEM, PKCS #8), with which the Pusher signs."""
VERIFY_KEY = "OUTNUMBERED_VERIFY_KEY"
"""Environment variable: file of the public key (PEM), with which readers check signatures."""

_MAKE = (
    "make a pair with `openssl genpkey -algorithm ed25519 -out private.pem` and "
    "`openssl pkey -in private.pem -pubout -out public.pem`"
)


SignatureState = Literal["valid", "not checked", "not signed"]


class Signature(Part):
    """The content of `signature.json`."""

    schema_version: Literal[1] = 1
    """Version of this schema."""
    algorithm: Literal["Ed25519"] = "Ed25519"
    """Algorithm of the signature and of the key."""
    key: str
    """SHA-256, in hex, of the 32 bytes of the public key."""
    signature: str
    """The signature of the bytes of `files.json`, in base64."""


def signing_key() -> Ed25519PrivateKey | None:
    """Returns the private key that the environment names; None if it names none.

    Raises:
      RegistryError: the file can't be read, or has no such key.
    """
    if not (path := os.environ.get(SIGNING_KEY)):
        return None
    try:
        key = serialization.load_pem_private_key(Path(path).read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _no_key(SIGNING_KEY, "a private Ed25519 key", path, error) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(SIGNING_KEY, "a private Ed25519 key", path, "it is of another kind")
    return key


def verify_key() -> Ed25519PublicKey | None:
    """Returns the public key that the environment names; None if it names none.

    Raises:
      RegistryError: the file can't be read, or has no such key.
    """
    if not (path := os.environ.get(VERIFY_KEY)):
        return None
    try:
        key = serialization.load_pem_public_key(Path(path).read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise _no_key(VERIFY_KEY, "a public Ed25519 key", path, error) from error
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(VERIFY_KEY, "a public Ed25519 key", path, "it is of another kind")
    return key


def sign(listed: bytes, key: Ed25519PrivateKey) -> bytes:
    """Returns the content of `signature.json`.

    Args:
      listed: the content of the version's list of files.
      key: the private key.
    """
    signature = Signature(
        key=_fingerprint(key.public_key()),
        signature=base64.b64encode(key.sign(listed)).decode(),
    )
    return (signature.model_dump_json(indent=1) + "\n").encode()


def problem(listed: bytes, signature: bytes | None, key: Ed25519PublicKey) -> str:
    """Returns what is wrong with a version's signature; empty if it is valid.

    Args:
      listed: the content of the version's list of files.
      signature: the content of its `signature.json`; None without one.
      key: the public key.
    """
    if signature is None:
        return f"it is not signed: {SIGNATURE_FILE} is missing"
    try:
        found = Signature.model_validate_json(signature)
        signed = base64.b64decode(found.signature, validate=True)
    except (ValidationError, binascii.Error):
        return f"{SIGNATURE_FILE} can't be read"
    if found.key != _fingerprint(key):
        return f"it is signed with another key: {found.key[:16]}…, not {_fingerprint(key)[:16]}…"
    try:
        key.verify(signed, listed)
    except InvalidSignature:
        return "its signature doesn't match its files"
    return ""


def check_signature(folder: Path, name: str) -> SignatureState:
    """Checks the signature of a version in a local folder, if the environment names a key.

    Args:
      folder: of the version.
      name: of the version, for the message.

    Returns:
      What is known of the signature. It is one of the list of files, so that these must be checked
      by the list.

    Raises:
      RegistryError: with a key, the version is not signed with it, or has other files than those
        that are listed.
    """
    key = verify_key()
    signature, listed = (_content(folder / name) for name in (SIGNATURE_FILE, LIST_FILE))
    if key is None:
        return "not signed" if signature is None else "not checked"
    if found := problem(listed or b"", signature, key) or _unsigned_file(folder):
        raise RegistryError(
            f"{name} must not be loaded: {found}. Promote or push a version that is signed with "
            f"the key of {VERIFY_KEY}, or unset {VERIFY_KEY} to load versions without checking who "
            "signed them"
        )
    return "valid"


def _unsigned_file(folder: Path) -> str:
    """Returns that a file is not in the list, which the signature is of; empty if all are."""
    listed = {entry.name for entry in artifact_files.described(str(folder))}
    others = set(artifact_files.names(str(folder))) - listed - {LIST_FILE, SIGNATURE_FILE}
    return f"{min(others)} is not in {LIST_FILE}, so it is not signed" if others else ""


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _fingerprint(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def _no_key(name: str, kind: str, path: str, why: object) -> RegistryError:
    return RegistryError(f"{name} must be the file of {kind} ({why}); {_MAKE}. Received: {path!r}")
