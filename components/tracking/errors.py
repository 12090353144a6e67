"""Errors of tracking."""


class TrackingError(Exception):
    """A version could not be registered. The message says why, and what to do."""
