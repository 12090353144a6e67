"""Notifications: tells people how a run ended, by a webhook, Slack or e-mail."""
