"""Messages to a webhook, Slack and an e-mail relay, and what is said if one is not delivered."""

import email
import hashlib
import hmac
import json
import logging
import socket
import ssl
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from receivers import HttpReceiver, relay
from test_message import notification
from tls_on_localhost import localhost_tls

from components.notifications import http
from components.notifications import notify as notify_module
from components.notifications.errors import DeliveryError
from components.notifications.limited import limited
from components.notifications.message import Failure
from components.notifications.notify import notify
from components.notifications.settings import Notifications

TOKEN = "T00/B00/a-secret-in-the-path"
MAIL = {"host": "127.0.0.1", "sender": "pets@example.com", "recipients": ["a@example.com"]}


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which take no time."""
    found: list[float] = []
    monkeypatch.setattr(notify_module.time, "sleep", found.append)
    return found


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def receiver():
    with HttpReceiver() as found:
        yield found


def settings(**sections: Any) -> Notifications:
    return Notifications.model_validate({"timeout_seconds": 5, **sections})


def slack(url: str) -> tuple[Notifications, dict[str, str]]:
    return settings(slack={}), {"OUTNUMBERED_SLACK_URL": f"{url}/services/{TOKEN}\n"}


def test_a_webhook_gets_the_message_as_json_and_signed_if_there_is_a_key(receiver):
    section = {"url_env": "HOOK", "signing_key_env": "KEY"}
    environment = {"HOOK": f"{receiver.url}/hook?token={TOKEN}", "KEY": "of it"}
    told = notification("not_blessed", blessed=False, reason="recall is 0.84")
    assert notify(settings(webhook=section), told, environment) == []
    ((path, headers, body),) = receiver.requests
    assert path == f"/hook?token={TOKEN}"
    assert json.loads(body) == json.loads(json.dumps(told.as_json()))
    digest = hmac.new(b"of it", body, hashlib.sha256).hexdigest()
    assert headers["X-Outnumbered-Signature"] == f"sha256={digest}"
    assert headers["Content-Type"].startswith("application/json")


def test_without_a_key_a_webhook_gets_no_signature(receiver):
    environment = {"OUTNUMBERED_WEBHOOK_URL": receiver.url}
    assert notify(settings(webhook={}), notification(), environment) == []
    assert "X-Outnumbered-Signature" not in receiver.requests[0][1]


def test_slack_gets_words_in_which_nothing_is_a_mention(receiver):
    told = notification(failures=(Failure(step="Trainer", reason="<!channel> & more"),))
    assert notify(*_with(slack(receiver.url), told)) == []
    ((path, _, body),) = receiver.requests
    assert path == f"/services/{TOKEN}"
    words = json.loads(body)["text"]
    assert words.startswith("*pets: the run failed in Trainer*\n")
    assert "&lt;!channel&gt; &amp; more" in words
    assert words.endswith("<https://kfp.example.com/#/runs/details/r-1|Page of the run>")


def test_only_the_outcomes_of_the_settings_are_told(receiver):
    only, environment = settings(outcomes=["failed"], slack={}), slack(receiver.url)[1]
    assert notify(only, notification("pushed", version=1), environment) == []
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("statuses", "attempts", "problem"),
    [
        ([503, 429], 3, None),
        ([500, 500, 500], 3, "its server answered with status 500"),
        ([403], 1, "its server answered with status 403"),
        ([302], 1, "its server redirects (status 302), which is not followed"),
    ],
)
def test_an_attempt_is_repeated_if_another_may_succeed(
    receiver, pauses, statuses, attempts, problem
):
    receiver.statuses = list(statuses)
    warnings = notify(*_with(slack(receiver.url)))
    assert len(receiver.requests) == attempts
    assert pauses == [0.5, 2.0][: attempts - 1]
    assert len(warnings) == (problem is not None)
    for warning in warnings:
        assert warning == (
            f"not told about the run: Slack's webhook of OUTNUMBERED_SLACK_URL, because {problem}. "
            "The run's own outcome stands"
        )


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (f"http://127.0.0.1:9/{TOKEN}", "its server can't be reached"),
        (f"http://no-such-host.invalid/{TOKEN}", "its server can't be reached"),
        (f"hooks.example.com/{TOKEN}", "its URL must begin with http:// or https://"),
        (f"ftp://hooks.example.com/{TOKEN}", "its URL must begin with http:// or https://"),
        (f"http://[::1/{TOKEN}", "its URL must begin with http:// or https://"),
        (" \n", "the environment variable OUTNUMBERED_SLACK_URL is not set"),
    ],
)
def test_what_can_not_be_reached_is_told_without_the_url_and_logged_nowhere(url, problem, caplog):
    caplog.set_level(logging.WARNING)
    (warning,) = notify(settings(slack={}), notification(), {"OUTNUMBERED_SLACK_URL": url})
    assert problem in warning
    for text in (warning, caplog.text):
        assert "secret" not in text


def test_a_server_without_tls_and_one_that_does_not_answer_are_told(receiver):
    tls, environment = slack(receiver.url.replace("http:", "https:"))
    (warning,) = notify(tls, notification(), environment)
    assert "its server's certificate can't be verified" in warning
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/{TOKEN}"
        with pytest.raises(DeliveryError, match=r"did not answer within 0\.05 seconds") as caught:
            http.post(url, b"", {}, 0.05)
    assert caught.value.may_pass


def test_a_receiver_that_fails_keeps_no_other_from_its_message(receiver):
    both = settings(webhook={}, slack={})
    down = {"OUTNUMBERED_WEBHOOK_URL": "http://127.0.0.1:9", **slack(receiver.url)[1]}
    (warning,) = notify(both, notification(), down)
    assert "the webhook of OUTNUMBERED_WEBHOOK_URL" in warning
    assert len(receiver.requests) == 1


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """The context of a server on localhost whose certificate is trusted."""
    certificate, context = localhost_tls(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return context


def mailing(port: int, security: str = "starttls") -> Notifications:
    login = {"user_env": "MAIL_USER", "password_env": "MAIL_PASSWORD"}
    given = {**MAIL, "host": "localhost", "port": port, "security": security}
    return settings(email=given if security == "none" else {**given, **login})


LOGIN = {"MAIL_USER": "pets", "MAIL_PASSWORD": "secret"}


def test_an_e_mail_is_sent_encrypted_and_with_a_login(tls):
    told = notification(failures=(Failure(step="Trainer", reason="größer"),))
    with relay(tls) as server:
        assert notify(mailing(server.port), told, LOGIN) == []
    assert (server.logins, server.encrypted) == ([("pets", "secret")], [True])
    ((sender, recipients, content),) = server.messages
    assert sender.startswith("FROM:<pets@example.com>")
    assert recipients == ["TO:<a@example.com>"]
    message = email.message_from_bytes(content, policy=default)
    assert message["Subject"] == "pets: the run failed in Trainer"
    assert message["Auto-Submitted"] == "auto-generated"
    assert "Trainer: größer" in message.get_content()
    assert "https://kfp.example.com/#/runs/details/r-1" in message.get_content()


@pytest.mark.parametrize(("security", "encrypted"), [("tls", True), ("none", False)])
def test_an_e_mail_is_encrypted_from_the_start_or_not_at_all_if_the_settings_say_so(
    tls, security, encrypted
):
    with relay(tls, from_start=encrypted) as server:
        assert notify(mailing(server.port, security), notification(), LOGIN) == []
    assert (server.encrypted, len(server.messages)) == ([encrypted], 1)


@pytest.mark.parametrize(
    ("command", "reply", "problem", "attempts"),
    [
        ("AUTH", "535 wrong", "it does not accept the user and password", 1),
        ("RCPT", "550 who?", "it refuses the recipients", 1),
        ("MAIL", "550 no", "it answered with 550", 1),
        ("MAIL", "451 later", "it answered with 451", 3),
    ],
)
def test_what_an_e_mail_relay_refuses_is_told(tls, pauses, command, reply, problem, attempts):
    with relay(tls) as server:
        server.replies = {command: reply}
        (warning,) = notify(mailing(server.port), notification(), LOGIN)
    assert f"the e-mail relay localhost, because {problem}." in warning
    assert "secret" not in warning
    assert len(pauses) == attempts - 1


def test_an_e_mail_is_not_sent_unencrypted_if_it_is_to_be_encrypted(tmp_path: Path):
    with relay() as server:
        (warning,) = notify(settings(email={**MAIL, "port": server.port}), notification(), {})
    assert "does not offer STARTTLS" in warning
    with relay(localhost_tls(tmp_path)[1]) as server:  # whose certificate nobody trusts
        (warning,) = notify(settings(email={**MAIL, "port": server.port}), notification(), {})
    assert "its certificate can't be verified" in warning
    assert server.messages == []
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    (warning,) = notify(settings(email={**MAIL, "port": port}), notification(), {})
    assert "the e-mail relay 127.0.0.1, because it can't be reached" in warning


def test_a_call_that_does_not_return_is_given_up_and_an_error_of_one_that_does_is_raised():
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimeoutError):
        limited(silent.accept, 0.05)
    with pytest.raises(ZeroDivisionError):
        limited(lambda: 1 / 0, 60)
    assert limited(lambda: 7, 60) == 7


def _with(given: tuple[Notifications, dict[str, str]], told: Any = None) -> Any:
    found, environment = given
    return found, told or notification(), environment
