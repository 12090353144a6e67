"""The parts of a run's images: one for each span, or one for a source without spans."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from components.artifact_files import Described
from components.image_example_gen import span_store
from components.image_example_gen.contents import Verify
from components.image_example_gen.read_images import Images, ReadImages
from components.image_example_gen.shards import Rules, Staging
from components.image_example_gen.sources import SourceError
from components.image_example_gen.span_listing import Asked, SpanImages, list_again
from components.image_example_gen.span_store import SpanStore, in_parallel

_SHARD_IMAGES = 128
_MAX_SHARDS = 1000

_LOGGER = logging.getLogger("outnumbered.image_example_gen")


@dataclass
class Part:
    """A span, or the whole source, in a run.

    Attributes:
      span: its images.
      first: index of its first shard.
      row: index of its first image in the listing of all spans.
      key: see `span_store.keys`; empty if the span is not kept.
      is_kept: whether an earlier run has read it.
      entries: the sizes and digests of its shards.
      read: what its shards hold, with rows in the listing of all spans.
    """

    span: SpanImages
    first: int
    row: int
    key: str = ""
    is_kept: bool = False
    entries: list[Described] = field(default_factory=list)
    read: ReadImages = field(default_factory=lambda: ReadImages.of(()))

    @property
    def shards(self) -> int:
        """Number of its shards."""
        return math.ceil(len(self.span.records) / self._size)

    @property
    def _size(self) -> int:
        return max(_SHARD_IMAGES, math.ceil(len(self.span.records) / _MAX_SHARDS))

    @property
    def _numbers(self) -> range:
        return range(self.first, self.first + self.shards)

    def write_listings(self, staging: Staging) -> Iterator[int]:
        """Writes the list of each shard's images, and yields the index of the shard."""
        for at in range(self.shards):
            start = at * self._size
            images = self.span.records[start : start + self._size]
            staging.write_listing(self.first + at, self.row + start, images)
            yield self.first + at

    def numbered(self) -> Iterator[tuple[int, Images, Described]]:
        """Yields the index of each shard, its images, and its entry."""
        yield from zip(self._numbers, self.read.by_shard(), self.entries, strict=True)

    def read_outcomes(self, staging: Staging) -> None:
        """Reads the outcomes and the entries of its shards, once these are ingested."""
        self.read = ReadImages.of(map(staging.read_outcome, self._numbers))
        self.entries = [staging.read_entry(shard) for shard in self._numbers]

    def keep(self, staging: Staging, store: SpanStore, key_now: str | None) -> None:
        """Keeps it for later runs, unless its files changed while they were read, or may be back.

        Args:
          staging: has its shards.
          store: where it is kept.
          key_now: its key after it was read.
        """
        if not self.key or not span_store.may_be_kept(self.read.refusals):
            return
        if self.key != key_now:
            _LOGGER.warning("span %s changed while it was read; it is not kept", self.span.name)
            return
        outcomes = [staging.read_outcome(shard).moved(-self.row) for shard in self._numbers]
        shards = [staging.examples(shard) for shard in self._numbers]
        store.add(self.span.name, self.key, outcomes, dict(zip(shards, self.entries, strict=True)))

    def look_up(self, staging: Staging, store: SpanStore) -> None:
        """Takes its shards and outcomes from the store, if an earlier run has read it."""
        kept = store.find(self.span.name, self.key)
        if kept and len(kept.shards) == self.shards and store.fetch(kept, staging, self.first):
            self.is_kept, self.entries = True, kept.shards
            self.read = ReadImages.of(outcome.moved(self.row) for outcome in kept.outcomes)


def of_spans(
    spans: Sequence[SpanImages],
    staging: Staging,
    store: SpanStore | None,
    rules: Rules,
    verify: Verify,
) -> list[Part]:
    """Returns the part of each span; the shards of kept ones are in the staging folder then.

    Args:
      spans: with their images, the oldest first.
      staging: the run's staging folder.
      store: the kept spans; None if none are kept.
      rules: how images are read.
      verify: see `contents.Verify`.
    """
    found: list[Part] = []
    shard = row = 0
    for span in spans:
        found.append(part := Part(span, shard, row))
        shard, row = shard + part.shards, row + len(span.records)
    if store is not None and spans[0].name:
        for part, key in zip(found, span_store.keys(spans, rules, verify), strict=True):
            part.key = key
        in_parallel(lambda part: part.look_up(staging, store), found)
    return found


def keys_now(unread: Sequence[Part], asked: Asked, rules: Rules, verify: Verify) -> dict[str, str]:
    """Returns the keys that spans have now, by their names; what can't be listed is missing.

    Args:
      unread: the spans.
      asked: which images the run reads.
      rules: how images are read.
      verify: see `contents.Verify`.
    """
    try:
        found = list_again(asked, [part.span.name for part in unread])
    except SourceError:
        return {}
    names = [span.name for span in found]
    return dict(zip(names, span_store.keys(found, rules, verify), strict=True))


def summary(found: Sequence[Part]) -> str:
    """Returns a sentence that says which spans were read in this run."""
    read = [len(part.span.records) for part in found if not part.is_kept]
    kept = [len(part.span.records) for part in found if part.is_kept]
    return (
        f"spans {found[0].span.name} to {found[-1].span.name}: {sum(read):,} images of "
        f"{len(read)} spans were read; the {sum(kept):,} of {len(kept)} others were read by "
        "earlier runs"
    )
