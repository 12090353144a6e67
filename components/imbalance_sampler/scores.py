"""The score that determines an image's split: a pure function of the seed and an identity."""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

SCORE_BITS = 63
"""Scores are integers in [0, 2**63), so they fit int64 in NumPy and Beam."""
MAX_SCORE = 2**SCORE_BITS - 1


def score(random_state: int, identity: str) -> int:
    """Returns the first 63 bits of SHA-256 of `<random_state>/<identity>`, big-endian.

    Equal identities have equal scores; those of different ones are uniform and independent.
    """
    return int(scores(random_state, [identity.encode()])[0])


def scores(random_state: int, identities: Iterable[bytes]) -> NDArray[np.int64]:
    """Returns the `score` of each identity, int64 (n,)."""
    seed = b"%d/" % random_state
    sha256 = hashlib.sha256
    heads = b"".join([sha256(seed + identity).digest()[:8] for identity in identities])
    return (np.frombuffer(heads, ">u8") >> np.uint64(1)).astype(np.int64)


def fingerprints(identities: Iterable[bytes]) -> NDArray[np.bytes_]:
    """Returns the first 16 bytes of SHA-256 of each identity, S16 (n,)."""
    sha256 = hashlib.sha256
    heads = b"".join([sha256(identity).digest()[:16] for identity in identities])
    return np.frombuffer(heads, "S16")
