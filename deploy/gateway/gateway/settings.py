"""The gateway's settings, each an environment variable."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

PREFIX = "OUTNUMBERED_GATEWAY_"


class SettingsError(ValueError):
    """A setting that cannot be used; the message names it."""


@dataclass(frozen=True)
class Settings:
    """Where the model is, and what a request may ask for.

    Attributes:
      registry: the folder whose `<version>/assets` holds each model's reading rules.
      upstream: TensorFlow Serving's gRPC, `host:port` or `unix:/path`.
      model_name: as TensorFlow Serving and the requests name it.
      host: address to listen on.
      port: port to listen on.
      tokens_file: file of bearer tokens, one on each line; none where it is not set.
      max_body_bytes: longest body.
      max_bytes_in_flight: bytes of all bodies that are held at a time, and as many of the images
        once they are read.
      max_bodies_arriving: requests at a time whose body has not arrived yet.
      max_in_flight: requests in progress at a time, once their bodies have arrived.
      max_images: images of a request.
      max_json_depth: how deep JSON may nest.
      max_json_tokens: brackets, commas and strings that JSON may have.
      rate: requests a second of one client, known by its token or its address; 0 for no limit.
      burst: requests of one client at once.
      header_timeout: seconds for a connection to bring the whole head of its next request.
      body_timeout: seconds for a request's body.
      request_timeout: seconds for a request in all.
      upstream_timeout: seconds for TensorFlow Serving.
      poll_seconds: seconds between two look-ups of the served version.
      decoders: images decoded at a time.
    """

    registry: Path
    upstream: str
    model_name: str = "outnumbered"
    host: str = "0.0.0.0"
    port: int = 8088
    tokens_file: Path | None = None
    max_body_bytes: int = 32 * 2**20
    max_bytes_in_flight: int = 128 * 2**20
    max_bodies_arriving: int = 256
    max_in_flight: int = 64
    max_images: int = 64
    max_json_depth: int = 16
    max_json_tokens: int = 20_000
    rate: float = 50.0
    burst: int = 100
    header_timeout: int = 10
    body_timeout: float = 30.0
    request_timeout: float = 60.0
    upstream_timeout: float = 30.0
    poll_seconds: float = 5.0
    decoders: int = 2

    def __post_init__(self):
        if self.max_body_bytes > self.max_bytes_in_flight:
            raise SettingsError(
                f"{PREFIX}MAX_BODY_BYTES must be at most {PREFIX}MAX_BYTES_IN_FLIGHT. "
                f"Received: {self.max_body_bytes} and {self.max_bytes_in_flight}"
            )

    def tokens(self) -> list[str]:
        """The bearer tokens.

        Raises:
          SettingsError: `tokens_file` is set and cannot be read, or holds none.
        """
        if self.tokens_file is None:
            return []
        try:
            found = self.tokens_file.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{PREFIX}TOKENS_FILE cannot be read: {error}") from error
        if not found:
            raise SettingsError(f"{PREFIX}TOKENS_FILE has no token. Received: {self.tokens_file}")
        return found


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings that the environment holds; the rest have their defaults.

    Raises:
      SettingsError: a variable is unknown, is required, or has a value that is not allowed.
    """
    given = {k.removeprefix(PREFIX): v for k, v in environment.items() if k.startswith(PREFIX)}
    known = {field.name.upper(): field for field in fields(Settings)}
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        raise SettingsError(f"{PREFIX}… must be one of {', '.join(known)}. Received: {unknown}")
    missing = [name for name in ("REGISTRY", "UPSTREAM") if not given.get(name)]
    if missing:
        raise SettingsError(f"{PREFIX}{missing[0]} is required")
    return Settings(
        **{known[name].name: _value(name, known[name].type, text) for name, text in given.items()}
    )


def _value(name: str, kind: Any, text: str) -> Any:
    if kind is str:
        return text
    if kind not in (int, float):
        return Path(text)
    try:
        value = kind(text)
    except ValueError:
        value = -1
    least = 0 if name == "RATE" else 1 if kind is int else 0.001
    if not least <= value < float("inf"):
        raise SettingsError(
            f"{PREFIX}{name} must be a number from {least:g} up. Received: {text!r}"
        )
    return value
