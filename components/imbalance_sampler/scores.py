"""The score that places an image: a pure function of the seed and of an identity."""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

SCORE_BITS = 63
"""Scores are whole numbers in [0, 2**63): they fit int64, and so NumPy and Beam."""
MAX_SCORE = 2**SCORE_BITS - 1


def score(random_state: int, identity: str) -> int:
    """The first 63 bits of SHA-256 of `<random_state>/<identity>`, big-endian.

    Equal identities score equal; different ones are spread evenly and independently.
    """
    return int(scores(random_state, [identity.encode()])[0])


def scores(random_state: int, identities: Iterable[bytes]) -> NDArray[np.int64]:
    """`score` of each identity in turn, int64 of shape (n,)."""
    seed = b"%d/" % random_state
    sha256 = hashlib.sha256
    heads = b"".join([sha256(seed + identity).digest()[:8] for identity in identities])
    return (np.frombuffer(heads, ">u8") >> np.uint64(1)).astype(np.int64)


def fingerprints(identities: Iterable[bytes]) -> NDArray[np.bytes_]:
    """The first 16 bytes of SHA-256 of each identity in turn, S16 of shape (n,)."""
    sha256 = hashlib.sha256
    heads = b"".join([sha256(identity).digest()[:16] for identity in identities])
    return np.frombuffer(heads, "S16")
