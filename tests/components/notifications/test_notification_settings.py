"""The settings section `notifications`."""

from typing import Any

import pytest
from pydantic import ValidationError

from components.messages import InputError
from components.notifications.settings import Notifications, check_variables
from pipeline.settings import SettingsError, parse_as

MAIL = {"host": "mail", "sender": "a@example.com", "recipients": ["b@example.com"]}


def test_it_is_off_by_default_and_reads_the_variables_that_it_names():
    assert Notifications().is_off()
    assert Notifications().variables() == {}
    mail = {**MAIL, "user_env": "U", "password_env": "P"}
    given = {"slack": {}, "webhook": {"url_env": "HOOK", "signing_key_env": "KEY"}, "email": mail}
    found = Notifications.model_validate(given)
    assert not found.is_off()
    assert found.variables() == {
        "HOOK": "notifications.webhook.url_env",
        "KEY": "notifications.webhook.signing_key_env",
        "OUTNUMBERED_SLACK_URL": "notifications.slack.url_env",
        "U": "notifications.email.user_env",
        "P": "notifications.email.password_env",
    }


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"outcomes": ["succeeded"]}, "Input should be 'failed', 'not_blessed', 'pushed'"),
        ({"link": "kfp.example.com/{run}"}, "must begin with http:// or https://"),
        ({"link": "https://kfp.example.com/{id}"}, "must have no braces other than {run}"),
        ({"slack": {"url": "https://hooks.slack.com"}}, "Extra inputs are not permitted"),
        ({"email": {**MAIL, "recipients": []}}, "at least 1 item"),
        ({"email": {**MAIL, "sender": "a@b\nBcc: c@d"}}, "one address"),
        ({"email": {**MAIL, "user_env": "U"}}, "must be given together"),
        (
            {"email": {**MAIL, "user_env": "U", "password_env": "P", "security": "none"}},
            "which would be sent unencrypted",
        ),
    ],
)
def test_what_is_invalid_is_refused(section: dict[str, Any], problem: str):
    with pytest.raises(ValidationError, match=problem):
        Notifications.model_validate(section)


def test_a_link_with_a_password_is_refused_and_not_repeated():
    tree = {"link": "https://user:hidden@kfp.example.com"}
    with pytest.raises(SettingsError, match="must not contain a user or password") as caught:
        parse_as(Notifications, tree, origin="test")
    assert "hidden" not in str(caught.value)


def test_a_secret_in_the_place_of_its_variable_is_refused_and_not_repeated():
    tree = {"slack": {"url_env": "https://hooks.example.com/services/hidden"}}
    with pytest.raises(SettingsError, match=r"slack\.url_env: must be the name of an") as caught:
        parse_as(Notifications, tree, origin="test")
    assert "hidden" not in str(caught.value)


def test_a_variable_that_is_not_set_is_named_with_its_setting():
    slack = Notifications.model_validate({"slack": {}})
    check_variables(slack, {"OUTNUMBERED_SLACK_URL": "https://hooks.example.com"})
    for environment in ({}, {"OUTNUMBERED_SLACK_URL": " "}):
        with pytest.raises(InputError, match=r"OUTNUMBERED_SLACK_URL, which notifications\.slack"):
            check_variables(slack, environment)
