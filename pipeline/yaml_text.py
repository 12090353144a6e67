"""YAML as people write it: a key given twice, or one that is not read as text, is refused."""

import datetime
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from components.spelling import composed

_TEXT = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"

Path = tuple[str, ...]


class YamlError(ValueError):
    """Text that is not YAML, or of which YAML would silently drop or change a part."""


class Document(NamedTuple):
    """A YAML document.

    Attributes:
      value: what it holds.
      advice: what to do about each value that is not read as text, such as `no`, where text
        was meant; by its path.
    """

    value: Any
    advice: Mapping[Path, str]


def load(text: str) -> Document:
    """Reads one document.

    Raises:
      YamlError: it is not YAML, has a key twice, or a key that is not text.
    """
    documents = load_all(text)
    if len(documents) > 1:
        raise YamlError(f"one document is expected. Received: {len(documents)}, set apart by ---")
    return documents[0] if documents else Document(None, {})


def load_all(text: str) -> list[Document]:
    """Reads all documents, in order.

    Raises:
      YamlError: as `load`.
    """
    try:
        return list(_documents(text))
    except yaml.YAMLError as error:
        raise YamlError(f"not YAML: {error}") from error
    except RecursionError as error:
        raise YamlError("not YAML that can be read: it is nested too deeply") from error


def quote_it(text: str, value: object) -> str:
    """What to do about a name that YAML doesn't read as text."""
    if not text:
        return "it is empty; write a value"
    return f'YAML reads {text} as {_said(value)}; quote it: "{text}"'


def _said(value: object) -> str:
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return f"the number {value}"
    # A time is a date too.
    return f"the date {value}" if isinstance(value, datetime.date) else f"{value!r}"


def _documents(text: str) -> Iterator[Document]:
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_node() and (node := loader.get_node()) is not None:
            checker = _Checker(loader)
            checker.check(node, (), frozenset())
            yield Document(loader.construct_document(node), checker.advice)
    finally:
        loader.dispose()


class _Checker:
    """Goes through a document before it is turned into values, while its lines are known."""

    def __init__(self, loader: yaml.SafeLoader):
        self.advice: dict[Path, str] = {}
        self._loader = loader
        self._seen: set[int] = set()

    def check(self, node: yaml.Node, path: Path, above: frozenset[int]) -> None:
        if id(node) in above:
            raise YamlError(f"{_where(node)}{_named(path)} contains itself; write it out")
        if isinstance(node, yaml.ScalarNode):
            self._check_scalar(node, path)
        elif id(node) not in self._seen:  # by an alias it may be reached in many ways
            self._seen.add(id(node))
            for part, child in self._children(node, path):
                self.check(child, (*path, part), above | {id(node)})

    def _check_scalar(self, node: yaml.ScalarNode, path: Path) -> None:
        value = self._value(node, path)
        if not isinstance(value, str):
            self.advice[path] = quote_it(node.value, value)

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
                    f"line {lines[composed(name)]}; remove one of them"
                )
            lines[composed(name)] = key.start_mark.line + 1
            if key.tag != _MERGE:
                yield name, child

    def _key(self, key: yaml.Node, path: Path) -> str:
        if not isinstance(key, yaml.ScalarNode):
            raise YamlError(f"{_where(key)}a key{_named(path, ' of ')} is not text; write a name")
        value = self._value(key, path)
        if not isinstance(value, str):
            advice = quote_it(key.value, value)
            raise YamlError(f"{_where(key)}a key{_named(path, ' of ')}: {advice}")
        return value

    def _value(self, node: yaml.ScalarNode, path: Path) -> Any:
        if node.tag == _TEXT:
            return node.value
        try:
            return self._loader.construct_object(node)
        # Such as of the date 2026-02-30; the others come of a wrong tag, such as !!bool maybe.
        except (ValueError, LookupError, AttributeError) as error:
            raise YamlError(
                f"{_where(node)}{_named(path)} {node.value!r:.60} can't be read ({error}); "
                "quote it if it is text"
            ) from error


def _where(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}: "


def _dotted(path: Path) -> str:
    return ".".join(path)


def _named(path: Path, before: str = "") -> str:
    return f"{before}{_dotted(path)}" if path else ""
