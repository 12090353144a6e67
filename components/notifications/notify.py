"""Tells all receivers of the settings, softly: what fails is reported, and the run stands."""

import time
from collections.abc import Mapping

from components.notifications.errors import DeliveryError
from components.notifications.limited import limited
from components.notifications.message import Notification
from components.notifications.senders import Sender, senders
from components.notifications.settings import Notifications

_PAUSES = (0.5, 2.0)
"""Seconds between two attempts."""

# A server may answer byte by byte, for which a time limit of the connection does not hold.
_SLACKNESS = 3


def notify(
    settings: Notifications, notification: Notification, environment: Mapping[str, str]
) -> list[str]:
    """Sends a message to each receiver, if its outcome is to be told.

    Args:
      settings: the receivers.
      notification: the message.
      environment: environment variables with URLs and passwords.

    Returns:
      A warning per receiver that did not get it, without URLs.
    """
    if notification.outcome not in settings.outcomes:
        return []
    attempts = len(_PAUSES) + 1
    most = attempts * settings.timeout_seconds * _SLACKNESS + sum(_PAUSES)
    warnings = []
    for sender in senders(settings, environment):
        if (problem := _problem(sender, notification, most)) is not None:
            warnings.append(
                f"not told about the run: {sender.name}, because {problem}. The run's own outcome "
                "stands"
            )
    return warnings


def _problem(sender: Sender, notification: Notification, most: float) -> str | None:
    try:
        limited(lambda: _deliver(sender, notification), most)
    except DeliveryError as error:
        return str(error)
    except TimeoutError:
        return f"it took longer than {most:g} seconds"
    except Exception as error:  # of any library: the run stands, whatever it is
        # Its text may contain the URL.
        return f"the delivery failed ({type(error).__name__})"
    return None


def _deliver(sender: Sender, notification: Notification) -> None:
    for pause in (*_PAUSES, None):
        try:
            sender.send(notification)
        except DeliveryError as error:
            if pause is None or not error.may_pass:
                raise
            time.sleep(pause)
        else:
            return
