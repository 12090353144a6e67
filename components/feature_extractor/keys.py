"""A set of images' keys in one sorted array: 64 bytes a key, where a set of texts takes 170."""

from collections.abc import Iterable, Iterator, Set

import numpy as np
from numpy.typing import NDArray

_KEY = np.dtype("S64")
_KEYS_AT_ONCE = 1 << 16


class Keys(Set[str]):
    """A set of keys, each an ASCII text of at most 64 characters."""

    def __init__(self, keys: Iterable[str]):
        """Takes each key once."""
        self._sorted = np.unique(as_array(keys))

    def __len__(self) -> int:
        """Returns the number of keys."""
        return len(self._sorted)

    def __iter__(self) -> Iterator[str]:
        """Yields the keys, sorted."""
        return (key.decode() for key in self._sorted)

    def __contains__(self, key: object) -> bool:
        """Returns whether a key is in the set."""
        return isinstance(key, str) and bool(self._has(as_array([key]))[0])

    def isdisjoint(self, other: Iterable[str]) -> bool:
        """Returns whether none of some keys is in the set."""
        return not self._has(as_array(other)).any()

    def without(self, other: "Keys") -> int:
        """Returns the number of keys that are not in another set."""
        starts = range(0, len(self), _KEYS_AT_ONCE)
        parts = (self._sorted[start : start + _KEYS_AT_ONCE] for start in starts)
        return len(self) - sum(int(other._has(part).sum()) for part in parts)

    def _has(self, keys: NDArray[np.bytes_]) -> NDArray[np.bool_]:
        if not len(self):
            return np.zeros(len(keys), bool)
        at = np.minimum(np.searchsorted(self._sorted, keys), len(self) - 1)
        return np.asarray(self._sorted[at] == keys)


def as_array(keys: Iterable[str]) -> NDArray[np.bytes_]:
    """Returns keys as S64 (n,), in the given order."""
    return np.fromiter((key.encode() for key in keys), _KEY)
