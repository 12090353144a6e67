"""The images that a source lists, in columns: about 100 bytes each, where objects take 700.

Imports the standard library only, as `sources` does.
"""

import itertools
from array import array
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar, overload

Value = TypeVar("Value", bound=Hashable)


class ImageRecord(NamedTuple):
    """An image as listed by the source, not read yet.

    Attributes:
      uri: path relative to the source, separated by `/`; if the manifest points outside of
        the source, the path as written there.
      path: the path that opens it: absolute, or with its scheme.
      class_name: the class as the user named it, in Unicode's composed form (NFC).
      slices: pairs of slice column and value, in the requested order; the value is empty if
        the manifest has none.
      size: bytes; -1 if the file can't be accessed.
      mtime_ns: modification time in nanoseconds since 1970.
      checksum: the store's own, of an object in a bucket; empty for any other file.
      span: name of the data span; empty if the source has no spans.
    """

    uri: str
    path: str
    class_name: str
    slices: tuple[tuple[str, str], ...]
    size: int
    mtime_ns: int
    checksum: str = ""
    span: str = ""


class Texts:
    """A column of texts, one after the other in a buffer."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._ends = array("Q", [0])

    def append(self, text: str) -> None:
        """Adds a text; it may have surrogates, which stand for bytes of file names."""
        self._buffer += text.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._buffer))

    def __getitem__(self, row: int) -> str:
        """Returns the text of a row, from 0."""
        found = self._buffer[self._ends[row] : self._ends[row + 1]]
        return found.decode("utf-8", "surrogatepass")

    def taken(self, rows: Iterable[int]) -> "Texts":
        """Returns the texts of some rows, in their order."""
        column = Texts()
        for row in rows:
            column._buffer += self._buffer[self._ends[row] : self._ends[row + 1]]
            column._ends.append(len(column._buffer))
        return column


class Categories(Generic[Value]):
    """A column of values that occur many times.

    Attributes:
      values: each of them once, in the order of their first rows.
      numbers: by row, the position of its value in `values`.
    """

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.numbers = array("I")
        self._known: dict[Value, int] = {}

    def append(self, value: Value) -> None:
        """Adds a value."""
        number = self._known.setdefault(value, len(self.values))
        if number == len(self.values):
            self.values.append(value)
        self.numbers.append(number)

    def __getitem__(self, row: int) -> Value:
        """Returns the value of a row, from 0."""
        return self.values[self.numbers[row]]

    def taken(self, rows: Iterable[int]) -> "Categories[Value]":
        """Returns the values of some rows, in their order."""
        column: Categories[Value] = Categories()
        numbers = [self.numbers[row] for row in rows]
        column._known = {
            self.values[number]: place for place, number in enumerate(dict.fromkeys(numbers))
        }
        column.values = list(column._known)
        renumbered = [column._known.get(value, 0) for value in self.values]
        column.numbers.extend(renumbered[number] for number in numbers)
        return column

    def counts(self) -> Counter[Value]:
        """Returns the number of rows with each value."""
        found = Counter(self.numbers)
        return Counter({value: found[number] for number, value in enumerate(self.values)})


class ImageTable(Sequence[ImageRecord]):
    """A sequence of `ImageRecord`s, each of which is made when it is asked for.

    Attributes:
      uris: see `ImageRecord`.
      classes: names of the classes.
      slices: see `ImageRecord`.
      spans: names of the spans.
    """

    def __init__(self, records: Iterable[ImageRecord] = ()):
        self.uris = Texts()
        self.classes: Categories[str] = Categories()
        self.slices: Categories[tuple[tuple[str, str], ...]] = Categories()
        self.spans: Categories[str] = Categories()
        # What stands before the uri in the path; or the whole path, if it does not end in the uri.
        self._heads: Categories[tuple[str, bool]] = Categories()
        self._checksums = Texts()
        self._sizes = array("q")
        self._times = array("q")
        for record in records:
            self.append(record)

    def append(self, record: ImageRecord) -> None:
        """Adds an image."""
        self.uris.append(record.uri)
        self.classes.append(record.class_name)
        self.slices.append(record.slices)
        self.spans.append(record.span)
        ends_in_uri = record.path.endswith(record.uri)
        head = record.path.removesuffix(record.uri) if ends_in_uri else record.path
        self._heads.append((head, ends_in_uri))
        self._checksums.append(record.checksum)
        self._sizes.append(record.size)
        self._times.append(record.mtime_ns)

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self._sizes)

    @overload
    def __getitem__(self, index: int) -> ImageRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[ImageRecord]: ...
    def __getitem__(self, index: int | slice) -> ImageRecord | list[ImageRecord]:
        """Returns one image, or a list of several."""
        rows = range(len(self))[index]
        return self._record(rows) if isinstance(rows, int) else [self._record(row) for row in rows]

    def __iter__(self) -> Iterator[ImageRecord]:
        """Yields each image."""
        return map(self._record, range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Returns whether another table has equal images in the same order."""
        if not isinstance(other, ImageTable):
            return NotImplemented
        return len(self) == len(other) and all(map(ImageRecord.__eq__, self, other))

    # It is compared by its images; mypy knows no other way to say that it can't be hashed.
    __hash__ = None  # type: ignore[assignment]

    def _record(self, row: int) -> ImageRecord:
        uri = self.uris[row]
        head, ends_in_uri = self._heads[row]
        return ImageRecord(
            uri,
            head + uri if ends_in_uri else head,
            self.classes[row],
            self.slices[row],
            self._sizes[row],
            self._times[row],
            self._checksums[row],
            self.spans[row],
        )

    def in_order(self) -> "ImageTable":
        """Returns the images sorted by uri, class and path; of equal ones, the last."""
        rows = sorted(range(len(self)), key=self.uris.__getitem__)
        chosen: list[int] = []
        for _, same in itertools.groupby(rows, self.uris.__getitem__):
            first, *others = same
            chosen += self._unique((first, *others)) if others else (first,)
        return self._taken(chosen)

    def _unique(self, rows: Iterable[int]) -> list[int]:
        """Returns the rows sorted by class and path; of equal ones, the last."""
        unique = {(self.classes[row], self[row].path): row for row in rows}
        return [unique[key] for key in sorted(unique)]

    def _taken(self, rows: Sequence[int]) -> "ImageTable":
        """Returns the images of some rows, in their order."""
        table = ImageTable()
        table.uris, table._checksums = self.uris.taken(rows), self._checksums.taken(rows)
        table.classes, table.slices = self.classes.taken(rows), self.slices.taken(rows)
        table.spans, table._heads = self.spans.taken(rows), self._heads.taken(rows)
        table._sizes.extend(self._sizes[row] for row in rows)
        table._times.extend(self._times[row] for row in rows)
        return table
