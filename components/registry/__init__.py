"""The model registry: versions, the pointer to the one that serves, signatures, history."""

from components.registry.errors import PushError, RegistryError
from components.registry.record import VersionRecord
from components.registry.registry import MakeRecord, Pushed, Registry, open_registry

__all__ = [
    "MakeRecord",
    "PushError",
    "Pushed",
    "Registry",
    "RegistryError",
    "VersionRecord",
    "open_registry",
]
