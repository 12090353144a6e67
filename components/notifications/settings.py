"""The settings section `notifications`: who is told how a run ended."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from components.messages import InputError
from components.section import PositiveCount, Section, matching

Outcome = Literal["failed", "not_blessed", "pushed", "finished"]
"""How a run ended."""

RUN = "{run}"
"""What stands for the run's id in a link."""

_ADDRESS = r"[^@\s<>,;:\"]+@[^@\s<>,;:\"]+"


def _checked_variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        # The value is not repeated: it may be the secret itself.
        raise ValueError(
            "must be the name of an environment variable, such as SLACK_URL, and not the value, "
            "which is to be set there. Received: a text with characters that no name has"
        )
    return name


Variable = Annotated[str, AfterValidator(_checked_variable)]
Address = Annotated[str, matching(_ADDRESS, "one address, such as pets@example.com")]


def _checked_link(link: str) -> str:
    parts = urlsplit(link)
    if parts.scheme not in ("http", "https") or not parts.netloc or re.search(r"\s", link):
        raise ValueError(
            f"must begin with http:// or https:// and name a server; {RUN} in it stands for the "
            "run's id"
        )
    if parts.username is not None or parts.password is not None:
        # The value is not repeated: it has a password.
        raise ValueError(
            "must not contain a user or password, since all receivers see it. Received: a URL of "
            f"{parts.hostname} with both or one of them"
        )
    if re.search(r"[{}]", link.replace(RUN, "")):
        raise ValueError(f"must have no braces other than {RUN}")
    return link


class Webhook(Section):
    """A server to which a JSON object is posted, see docs/notification.schema.json."""

    url_env: Variable = Field(
        default="OUTNUMBERED_WEBHOOK_URL",
        description="Environment variable with its URL, which may contain a token.",
    )
    signing_key_env: Variable | None = Field(
        default=None,
        description=(
            "Environment variable with a key for the header X-Outnumbered-Signature: sha256= and "
            "the HMAC of the body in hex digits; null: the header is not sent."
        ),
    )


class Slack(Section):
    """An incoming webhook of Slack, or of a server that accepts the same, such as Mattermost."""

    url_env: Variable = Field(
        default="OUTNUMBERED_SLACK_URL", description="Environment variable with its URL."
    )


class Email(Section):
    """An e-mail relay (SMTP)."""

    host: Annotated[str, matching(r"[A-Za-z0-9.:_-]+", "a host name or an address")] = Field(
        description="Name of the relay."
    )
    port: Annotated[PositiveCount, Field(le=65535)] = Field(default=587, description="Its port.")
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls",
        description="starttls: encrypted by STARTTLS; tls: from the start, as on port 465.",
    )
    sender: Address = Field(description="Address that the messages come from.")
    recipients: list[Address] = Field(min_length=1, description="Addresses that get them.")
    user_env: Variable | None = Field(
        default=None, description="Environment variable with the user; null: no login."
    )
    password_env: Variable | None = Field(
        default=None, description="Environment variable with the password."
    )

    @model_validator(mode="after")
    def _login_is_complete_and_encrypted(self) -> Self:
        if (self.user_env is None) != (self.password_env is None):
            raise ValueError(
                "user_env and password_env must be given together. Received: "
                f"{self.user_env} and {self.password_env}"
            )
        if self.user_env is not None and self.security == "none":
            raise ValueError(
                "security must be starttls or tls if there is a password, which would be sent "
                "unencrypted. Received: none"
            )
        return self


class Notifications(Section):
    """Who is told how a run ended. URLs and passwords are in environment variables.

    A message that can't be delivered is reported, and the run's own outcome stands.
    """

    outcomes: list[Outcome] = Field(
        default=["failed", "not_blessed", "pushed", "finished"],
        description=(
            "Outcomes that are told; pushed: a new version; finished: neither of the others, as "
            "of a study."
        ),
    )
    link: Annotated[str, AfterValidator(_checked_link)] | None = Field(
        default=None,
        description=(
            f"Link to a run's page, in which {RUN} stands for its id, such as "
            f"https://kfp.example.com/#/runs/details/{RUN}; null: a page of kubeflow.host, unless "
            f"that is localhost. For runs on one machine {RUN} is the name of the run's folder; "
            "null: no link."
        ),
    )
    webhook: Webhook | None = Field(default=None, description="A webhook; null: none.")
    slack: Slack | None = Field(default=None, description="Slack; null: it is not used.")
    email: Email | None = Field(default=None, description="E-mail; null: none is sent.")
    timeout_seconds: PositiveCount = Field(
        default=10, description="Seconds after which an attempt has failed; there are three."
    )

    def is_off(self) -> bool:
        """Returns whether nobody is to be told."""
        return self.webhook is None and self.slack is None and self.email is None

    def variables(self) -> dict[str, str]:
        """Returns the environment variables that are read, with the settings that name them."""
        found: dict[str, str] = {}
        for key in ("webhook", "slack", "email"):
            section = getattr(self, key)
            for name, value in section or ():
                if name.endswith("_env") and value is not None:
                    found[value] = f"notifications.{key}.{name}"
        return found


def check_variables(notifications: Notifications, environment: Mapping[str, str]) -> None:
    """Checks that the environment variables of all receivers are set.

    Raises:
      InputError: one is not set.
    """
    for variable, key in notifications.variables().items():
        if not environment.get(variable, "").strip():
            raise InputError(
                f"the environment variable {variable}, which {key} names, is required and is not "
                f"set; set it, or remove {key.rpartition('.')[0]}"
            )
