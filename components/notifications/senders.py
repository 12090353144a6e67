"""Sends a message to one receiver: a webhook, Slack or an e-mail relay."""

import hashlib
import hmac
import json
import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from typing import Protocol

from components.notifications import http
from components.notifications.errors import DeliveryError
from components.notifications.message import Notification, details, text, title
from components.notifications.settings import Email, Notifications, Slack, Webhook

SIGNATURE_HEADER = "X-Outnumbered-Signature"
_JSON = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "outnumbered"}
_ESCAPED_BY_SLACK = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_TEMPORARY = range(400, 500)  # replies of SMTP that another attempt may change
_PROBLEMS: dict[type[Exception], str] = {
    smtplib.SMTPAuthenticationError: "it does not accept the user and password",
    smtplib.SMTPNotSupportedError: (
        "it does not offer STARTTLS or a login; set notifications.email.security"
    ),
    smtplib.SMTPRecipientsRefused: "it refuses the recipients",
    ssl.SSLError: "its certificate can't be verified, or it does not use TLS",
}


class Sender(Protocol):
    """Sends messages to one receiver."""

    name: str

    def send(self, notification: Notification) -> None:
        """Makes one attempt.

        Raises:
          DeliveryError: the message was not delivered.
        """


def senders(settings: Notifications, environment: Mapping[str, str]) -> list[Sender]:
    """Returns a sender per receiver of the settings.

    Args:
      settings: the receivers.
      environment: environment variables with URLs and passwords.
    """
    timeout = float(settings.timeout_seconds)
    found: list[Sender] = []
    if settings.webhook:
        found.append(WebhookSender(settings.webhook, environment, timeout))
    if settings.slack:
        found.append(SlackSender(settings.slack, environment, timeout))
    if settings.email:
        found.append(EmailSender(settings.email, environment, timeout))
    return found


class WebhookSender:
    """Posts a JSON object, see `Notification.as_json`."""

    def __init__(self, settings: Webhook, environment: Mapping[str, str], timeout: float):
        self.name = f"the webhook of {settings.url_env}"
        self._settings, self._environment, self._timeout = settings, environment, timeout

    def send(self, notification: Notification) -> None:
        """Makes one attempt; see `Sender`."""
        body = json.dumps(notification.as_json(), ensure_ascii=False).encode()
        headers = dict(_JSON)
        if self._settings.signing_key_env:
            key = _secret(self._environment, self._settings.signing_key_env)
            digest = hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
            headers[SIGNATURE_HEADER] = f"sha256={digest}"
        url = _secret(self._environment, self._settings.url_env)
        http.post(url, body, headers, self._timeout)


class SlackSender:
    """Posts to an incoming webhook of Slack."""

    def __init__(self, settings: Slack, environment: Mapping[str, str], timeout: float):
        self.name = f"Slack's webhook of {settings.url_env}"
        self._settings, self._environment, self._timeout = settings, environment, timeout

    def send(self, notification: Notification) -> None:
        """Makes one attempt; see `Sender`."""
        body = json.dumps({"text": slack_text(notification)}, ensure_ascii=False).encode()
        url = _secret(self._environment, self._settings.url_env)
        http.post(url, body, _JSON, self._timeout)


def slack_text(notification: Notification) -> str:
    """Returns the words in Slack's format, in which no text of a run is a link or a mention."""
    lines = [f"*{_for_slack(title(notification))}*", *map(_for_slack, details(notification))]
    if link := notification.run.link:
        lines.append(f"<{_for_slack(link)}|Page of the run>")
    return "\n".join(lines)


def _for_slack(line: str) -> str:
    return "".join(_ESCAPED_BY_SLACK.get(character, character) for character in line)


class EmailSender:
    """Sends an e-mail by a relay."""

    def __init__(self, settings: Email, environment: Mapping[str, str], timeout: float):
        self.name = f"the e-mail relay {settings.host}"
        self._settings, self._environment, self._timeout = settings, environment, timeout

    def send(self, notification: Notification) -> None:
        """Makes one attempt; see `Sender`."""
        try:
            with self._connected() as relay:
                if self._settings.user_env and self._settings.password_env:
                    relay.login(
                        _secret(self._environment, self._settings.user_env),
                        _secret(self._environment, self._settings.password_env),
                    )
                relay.send_message(email_of(notification, self._settings))
        except (OSError, smtplib.SMTPException) as error:
            raise _described(error, self._timeout) from None

    def _connected(self) -> smtplib.SMTP:
        place, context = (self._settings.host, self._settings.port), ssl.create_default_context()
        if self._settings.security == "tls":
            return smtplib.SMTP_SSL(*place, timeout=self._timeout, context=context)
        relay = smtplib.SMTP(*place, timeout=self._timeout)
        if self._settings.security == "starttls":
            try:
                relay.starttls(context=context)
            except BaseException:
                relay.close()
                raise
        return relay


def email_of(notification: Notification, settings: Email) -> EmailMessage:
    """Returns the message as an e-mail."""
    message = EmailMessage()
    message["From"] = settings.sender
    message["To"] = ", ".join(settings.recipients)
    message["Date"] = notification.sent_at
    # A header has one line.
    message["Subject"] = " ".join(title(notification).split())
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text(notification))
    return message


def _described(error: Exception, timeout: float) -> DeliveryError:
    if isinstance(error, smtplib.SMTPResponseException) and type(error) not in _PROBLEMS:
        return DeliveryError(
            f"it answered with {error.smtp_code}", may_pass=error.smtp_code in _TEMPORARY
        )
    if isinstance(error, TimeoutError):
        return DeliveryError(f"it did not answer within {timeout:g} seconds", may_pass=True)
    for kind, problem in _PROBLEMS.items():
        if isinstance(error, kind):
            return DeliveryError(problem)
    return DeliveryError("it can't be reached", may_pass=True)


def _secret(environment: Mapping[str, str], variable: str) -> str:
    # A secret that was made from a file often ends in a newline.
    value = environment.get(variable, "").strip()
    if not value:
        raise DeliveryError(f"the environment variable {variable} is not set")
    return value
