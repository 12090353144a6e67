"""Names that people write in more than one way, and when two spellings are taken for one name.

Imports the standard library only.
"""

import collections
import unicodedata
from collections.abc import Iterable

_FORMAT_CHARACTERS = "Cf"


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC): macOS writes names of folders decomposed."""
    return unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """What two spellings of a name have in common.

    Case, the width and form of characters, the kind and number of spaces, spaces at the ends,
    and characters that can't be seen are left out, as in Unicode's compatibility caseless
    match (The Unicode Standard, D146).
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", name).casefold())
    seen = (c for c in text if unicodedata.category(c) != _FORMAT_CHARACTERS)
    return " ".join("".join(seen).split())


def spelled_differently(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two names, sorted, that are the same but for their spelling; None: there are none.

    Args:
      names: such as of all classes; the same name twice is no second spelling.
    """
    spellings = collections.defaultdict(list)
    for name in sorted(set(names)):
        spellings[folded(name)].append(name)
    return next(((found[0], found[1]) for found in spellings.values() if len(found) > 1), None)
