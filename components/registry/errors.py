"""Errors of a model registry."""


class RegistryError(Exception):
    """What was asked can't be done; the registry is unchanged. The message says what to do."""


class DamagedVersionError(RegistryError):
    """A version whose files are not as they were pushed."""


class PushError(RegistryError):
    """A model that could not be pushed; the registry is unchanged."""
