"""A YAML parser that refuses duplicate keys and keys that YAML does not read as text."""

import datetime
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from components.messages import InputError, cut
from components.spelling import composed

_TEXT = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"

# Far more than settings and compiled pipelines have, and little enough to parse and show.
_MAX_DEPTH = 100
_MAX_VALUES_WITH_ALIASES = 100_000
# Python refuses to print integers of more than 4,300 digits.
_MAX_INTEGER_BITS = 4096
_SHOWN = 60

Path = tuple[str, ...]


class YamlError(InputError):
    """The text is not YAML, or YAML would silently drop or change a part of it."""


class Document(NamedTuple):
    """A YAML document.

    Attributes:
      value: the parsed value.
      advice: what to do if text was meant, by the path of each value that is not read as text,
        such as `no`.
    """

    value: Any
    advice: Mapping[Path, str]


def load(text: str) -> Document:
    """Parses a single document.

    Raises:
      YamlError: the text is not YAML, or has a duplicate key or a key that is not text.
    """
    documents = load_all(text)
    if len(documents) > 1:
        raise YamlError(
            f"must be a single document. Received: {len(documents)} documents, separated by ---"
        )
    return documents[0] if documents else Document(None, {})


def load_all(text: str) -> list[Document]:
    """Parses all documents, in order; raises as `load`."""
    try:
        return list(_documents(text))
    except yaml.YAMLError as error:
        raise YamlError(f"not valid YAML: {error}") from error
    except RecursionError as error:
        raise YamlError("not valid YAML: it is nested too deeply") from error


def _quoting_advice(text: str, value: object) -> str:
    """What to do about a value that YAML doesn't read as text."""
    if not text:
        return "it is empty; write a value"
    shown = cut(text, _SHOWN)
    return f'YAML reads {shown} as {_described(value)}; quote it: "{shown}"'


def _described(value: object) -> str:
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return f"the number {cut(str(value), _SHOWN)}"
    # In Python a datetime is a date.
    return f"the date {value}" if isinstance(value, datetime.date) else f"{value!r}"


def _documents(text: str) -> Iterator[Document]:
    loader = _Loader(text)
    try:
        while loader.check_node() and (node := loader.get_node()) is not None:
            checker = _Checker(loader)
            checker.check(node, (), frozenset())
            yield Document(loader.construct_document(node), checker.advice)
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """Refuses deep nesting while it parses, since the time for it grows with its square."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise YamlError(f"not valid YAML: it is nested too deeply, over {_MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Checker:
    """Checks a document before it is converted to values, while line numbers are known."""

    def __init__(self, loader: yaml.SafeLoader):
        self.advice: dict[Path, str] = {}
        self._loader = loader
        self._sizes: dict[int, int] = {}
        self._has_aliases = False

    def check(self, node: yaml.Node, path: Path, above: frozenset[int]) -> int:
        """Checks a node and returns the number of values in it, with aliases written out."""
        if id(node) in above:
            raise YamlError(
                f"{_where(node)}{_named(path)} contains itself; write its content instead"
            )
        if isinstance(node, yaml.ScalarNode):
            self._check_scalar(node, path)
            return 1
        if id(node) in self._sizes:
            self._has_aliases = True
            return self._sizes[id(node)]
        below = above | {id(node)}
        children = self._children(node, path)
        size = 1 + sum(self.check(child, (*path, part), below) for part, child in children)
        if self._has_aliases and size > _MAX_VALUES_WITH_ALIASES:
            raise YamlError(
                f"{_where(node)}{_named(path) or 'the document'} has more than "
                f"{_MAX_VALUES_WITH_ALIASES:,} values when its aliases are written out; remove them"
            )
        self._sizes[id(node)] = size
        return size

    def _check_scalar(self, node: yaml.ScalarNode, path: Path) -> None:
        value = self._value(node, path)
        if not isinstance(value, str):
            self.advice[path] = _quoting_advice(node.value, value)

    def _children(self, node: yaml.Node, path: Path) -> Iterator[tuple[str, yaml.Node]]:
        if isinstance(node, yaml.SequenceNode):
            yield from ((str(index), child) for index, child in enumerate(node.value))
            return
        lines: dict[str, int] = {}
        for key, child in node.value:
            name = _MERGE if key.tag == _MERGE else self._key(key, path)
            if composed(name) in lines:
                raise YamlError(
                    f"{_where(key)}the key {_dotted((*path, key.value))} is given twice, first in "
                    f"line {lines[composed(name)]}; remove one"
                )
            lines[composed(name)] = key.start_mark.line + 1
            if key.tag != _MERGE:
                yield name, child

    def _key(self, key: yaml.Node, path: Path) -> str:
        if not isinstance(key, yaml.ScalarNode):
            raise YamlError(
                f"{_where(key)}a key{_named(path, ' of ')} must be text, not a list or mapping"
            )
        value = self._value(key, path)
        if not isinstance(value, str):
            advice = _quoting_advice(key.value, value)
            raise YamlError(f"{_where(key)}a key{_named(path, ' of ')}: {advice}")
        return value

    def _value(self, node: yaml.ScalarNode, path: Path) -> Any:
        if node.tag == _TEXT:
            return node.value
        try:
            value = self._loader.construct_object(node)
            if isinstance(value, int) and value.bit_length() > _MAX_INTEGER_BITS:
                raise ValueError(f"an integer has at most {_MAX_INTEGER_BITS:,} bits")
            return value
        # For example the date 2026-02-30; the last two: a wrong tag, such as !!bool maybe.
        except (ValueError, LookupError, AttributeError) as error:
            raise YamlError(
                f"{_where(node)}{_named(path) or 'the value'} can't be parsed ({error}); quote it "
                f"if it is text. Received: {node.value!r:.60}"
            ) from error


def _where(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}: "


def _dotted(path: Path) -> str:
    return ".".join(path)


def _named(path: Path, before: str = "") -> str:
    return f"{before}{_dotted(path)}" if path else ""
