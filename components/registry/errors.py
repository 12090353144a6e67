"""Errors of a model registry."""


class RegistryError(Exception):
    """What was asked can't be done; the registry is unchanged. The message says what to do."""


class PushError(RegistryError):
    """A model that could not be pushed; the registry is unchanged."""
