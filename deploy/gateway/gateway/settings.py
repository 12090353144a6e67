"""Settings of the gateway, read from environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

PREFIX = "OUTNUMBERED_GATEWAY_"

_STORES = ("s3", "gs")


class SettingsError(ValueError):
    """Invalid setting; the message names it."""


@dataclass(frozen=True)
class Settings:
    """Location of the model, and limits of requests.

    Attributes:
      registry: the model registry: a folder, or a prefix `s3://…` or `gs://…`.
      models: folder for copies of the served version, if the registry is in a bucket.
      model_config: TensorFlow Serving's model config, which the gateway writes so that the version
        to which the registry points is served; if not set, TensorFlow Serving chooses the version.
      upstream: gRPC address of TensorFlow Serving, `host:port` or `unix:/path`.
      model_name: name of the model in TensorFlow Serving and in requests.
      host: address to listen on.
      port: port to listen on.
      tokens_file: file of bearer tokens, one per line; if not set, no token is required.
      max_body_bytes: maximum bytes of a request body.
      max_bytes_in_flight: maximum bytes of all bodies in memory at a time, and, separately, of
        all images after reading.
      max_bodies_arriving: maximum number of requests whose body is still arriving.
      max_in_flight: maximum number of requests in progress, counted after their body arrived.
      max_images: maximum number of images per request.
      max_json_depth: maximum nesting depth of JSON.
      max_json_tokens: maximum number of brackets, commas and strings in JSON.
      rate: requests per second per client (its token, or else its address); 0 for no limit.
      burst: requests at once per client.
      header_timeout: seconds for a connection to send all headers of its next request.
      body_timeout: seconds for the body of a request.
      request_timeout: seconds for a request in total.
      upstream_timeout: seconds for a call to TensorFlow Serving.
      poll_seconds: seconds between look-ups of the served version.
      registry_poll_seconds: seconds between look-ups of the version to which the registry points.
      decoders: maximum number of images decoded at a time.
    """

    registry: str
    upstream: str
    models: Path | None = None
    model_config: Path | None = None
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
    registry_poll_seconds: float = 30.0
    decoders: int = 2

    def __post_init__(self):
        if self.max_body_bytes > self.max_bytes_in_flight:
            raise SettingsError(
                f"{PREFIX}MAX_BODY_BYTES must be at most {PREFIX}MAX_BYTES_IN_FLIGHT. "
                f"Received: {self.max_body_bytes} and {self.max_bytes_in_flight}"
            )

        if "://" not in self.registry:
            if self.models is not None:
                raise SettingsError(
                    f"{PREFIX}MODELS is for a registry in a bucket only. Received: {self.models} "
                    f"with {PREFIX}REGISTRY {self.registry}"
                )
            return
        if self.registry.partition("://")[0] not in _STORES:
            raise SettingsError(
                f"{PREFIX}REGISTRY must be a folder, s3://… or gs://…. Received: {self.registry!r}"
            )
        if self.models is None or self.model_config is None:
            raise SettingsError(
                f"{PREFIX}MODELS and {PREFIX}MODEL_CONFIG are required for a registry in a bucket"
            )

    @property
    def versions_folder(self) -> Path:
        """The local folder with a folder per version: the registry, or that of the copies."""
        return (self.models or Path(self.registry)).absolute()

    def tokens(self) -> list[str]:
        """Reads the bearer tokens.

        Raises:
          SettingsError: `tokens_file` is set, but cannot be read or contains no token.
        """
        if self.tokens_file is None:
            return []
        try:
            found = self.tokens_file.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{PREFIX}TOKENS_FILE cannot be read: {error}") from error
        if not found:
            raise SettingsError(
                f"{PREFIX}TOKENS_FILE must contain a token. Received: {self.tokens_file}"
            )
        return found


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Reads the settings from environment variables; the others have their defaults.

    Raises:
      SettingsError: a variable is unknown, a required one is missing, or a value is invalid.
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
            f"{PREFIX}{name} must be a number of at least {least:g}. Received: {text!r}"
        )
    return value
