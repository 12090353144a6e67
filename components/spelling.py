"""Normalizes names and finds different spellings of the same name.

Imports the standard library only.
"""

import collections
import unicodedata
from collections.abc import Iterable

_FORMAT_CHARACTERS = "Cf"


def composed(name: str) -> str:
    """Returns a name in Unicode's composed form (NFC); macOS decomposes names of folders."""
    return unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """Returns a form of a name that is equal for all its spellings.

    Case, the width and form of characters, the kind and number of spaces, leading and trailing
    spaces, and invisible characters are ignored, as in Unicode's compatibility caseless match
    (The Unicode Standard, D146).
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", name).casefold())
    visible = (c for c in text if unicodedata.category(c) != _FORMAT_CHARACTERS)
    return " ".join("".join(visible).split())


def spelled_differently(names: Iterable[str]) -> tuple[str, str] | None:
    """Returns the first two names, sorted, that differ only in their spelling; None if none do.

    Args:
      names: names, such as those of all classes; repeated names are ignored.
    """
    spellings = collections.defaultdict(list)
    for name in sorted(set(names)):
        spellings[folded(name)].append(name)
    return next(((found[0], found[1]) for found in spellings.values() if len(found) > 1), None)
