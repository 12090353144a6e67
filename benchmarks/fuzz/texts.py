"""Hypothesis strategies for settings, manifests and gates: valid ones with few or many changes.

Each strategy draws the bytes of a file.
"""

import csv
import functools
import io
import json
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

_ROOT = Path(__file__).parents[2]

# Texts that often cause errors in parsers.
_ODD = (
    *(
        "",
        " ",
        "\t",
        "\r",
        "\0",
        "\ufeff",
        "\u2028",
        "\x85",
        "\x1b[2J",
        "é",
        "e\u0301",
        "\U0001f436",
    ),
    *("true", "no", "null", "~", "NaN", ".nan", "-.inf", "1e999", "0x", "1_000", "010", "12:30:45"),
    *("2026-02-30", "2026-11-27", "0001-01-01 00:00:00 +23:59", "<<", "=", "!!str x", "[red]x"),
    *(
        "a.jpg",
        "cats/c.jpg",
        "../../etc/passwd",
        "/proc/self/environ",
        "file:///a.jpg",
        "file://a/b",
    ),
    *("http://a/b.jpg", "~nobody/a", "a\\b", "s3:/", "gs://", "ftp://x", "s3://b/k", "data:,x"),
    *("cats", "dogs", "positive", "uri", "label", "recall >= 0.9", "0 0 3 * * *", "image:1.0"),
    *("at prevalence", "0 0 0 31 2 *", "*/0 * * * * *", "0-59/61 * * * * *", "8Gi", "9999999999Ei"),
)
_LONG = (
    "9",
    "a",
    " ",
    "[",
    "{",
    '"',
    "a,",
    "- ",
    "1:",
    "\n",
    "*",
    ">",
    "(",
    "é",
    "[[",
    '{"a":',
    "\\",
)
# YAML that yaml.safe_dump does not write, inserted unchanged.
_YAML = (
    *("!!python/object/apply:os.system [id]", "!!binary AAAA", "!!set {a, b}", "!!omap [a: 1]"),
    *("!!timestamp 2026-13-45", "!!int x", "!!float y", "!!bool maybe", "!!null x", "!unknown x"),
    *("&a [*a]", "&a {b: *a}", "*missing", "{<<: {a: 1}}", "{<<: 1}", "{a: 1, a: 2}", "{[a]: b}"),
    *(
        "{2026-01-01: a}",
        "{1.5: a}",
        "{null: a}",
        "|\n    text",
        ">-\n    text",
        "---",
        "...",
        "%YAML 3",
    ),
    *(
        "9999-99-99",
        "0o17",
        "0b1",
        "1:59:59.5",
        ".inf",
        "'",
        '"\\ud800"',
        '"\\x00"',
        "? a",
        "@x",
        "`x`",
    ),
)
_HUGE = (
    *("0x" + "f" * 5000, "9" * 4000, "9" * 5000, "0b" + "1" * 20_000, "1" + ":59" * 3000),
    *("1" * 400 + ".0", "[" * 300 + "]" * 300, "[" * 3000, "{a: " * 200 + "1" + "}" * 200),
    "[" + ", ".join(f"&a{n} [{f'*a{n - 1}, ' * 9}]" if n else "&a0 [x]" for n in range(9)) + "]",
    "{" + ", ".join(f"k{n}: 1" for n in range(2000)) + "}",
    "- " * 500 + "x",
)


def _many(text: str, count: int) -> str:
    return text * count


long_texts = st.builds(_many, st.sampled_from(_LONG), st.sampled_from((10, 100, 1000, 20_000)))
texts = st.one_of(st.sampled_from(_ODD), st.text(max_size=20), long_texts)
numbers = st.one_of(
    st.integers(), st.floats(), st.sampled_from((0, -1, 1, 2**31, 2**63, 10**400, 5e-324, 1e308))
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
)


class _Raw(str):
    """YAML that is inserted unchanged."""


raw_yaml = st.sampled_from((*_YAML, *_HUGE)).map(_Raw)


@functools.cache
def _trees() -> tuple[Any, ...]:
    """Returns all presets of the project and the settings in `deploy/`."""
    folders = ("pipeline/presets", "pipeline/study/presets", "deploy/settings")
    paths = sorted(path for folder in folders for path in (_ROOT / folder).glob("*.yaml"))
    return tuple(yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths)


@st.composite
def _changed(draw: st.DrawFn, tree: Any) -> Any:
    """Draws a tree in which one value, at any depth, was replaced, renamed, added or removed."""
    if not isinstance(tree, dict | list) or not tree or draw(st.integers(0, 5)) == 0:
        return draw(raw_yaml | values)
    if isinstance(tree, list):
        index = draw(st.integers(0, len(tree) - 1))
        return [*tree[:index], draw(_changed(tree[index])), *tree[index + 1 :]]
    key = draw(st.sampled_from(sorted(tree)))
    match draw(st.sampled_from(("within", "within", "within", "rename", "remove", "add"))):
        case "within":
            return tree | {key: draw(_changed(tree[key]))}
        case "rename":
            return {draw(texts) if name == key else name: value for name, value in tree.items()}
        case "remove":
            return {name: value for name, value in tree.items() if name != key}
    return tree | {draw(texts): draw(values)}


def _dumped(tree: Any) -> str:
    """Returns a tree as YAML, with each raw part unchanged."""
    parts: list[str] = []

    def marked(value: Any) -> Any:
        if isinstance(value, _Raw):
            parts.append(value)
            return f"RAW{len(parts) - 1}END"
        if isinstance(value, dict):
            return {key: marked(inner) for key, inner in value.items()}
        return [marked(inner) for inner in value] if isinstance(value, list) else value

    text = yaml.safe_dump(marked(tree), allow_unicode=True, default_flow_style=None)
    for number, part in enumerate(parts):
        text = text.replace(f"RAW{number}END", part)
    return text


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@st.composite
def _spoilt(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Draws bytes of which a part is sometimes removed, repeated or overwritten."""
    data = draw(whole)
    if draw(st.integers(0, 3)):
        return data
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, len(data)))
    piece = draw(st.one_of(st.binary(max_size=8), texts.map(_bytes), st.just(data[start:end] * 2)))
    return data[:start] + piece + data[end:]


@st.composite
def _settings(draw: st.DrawFn) -> bytes:
    tree = draw(st.sampled_from(_trees()))
    for _ in range(draw(st.integers(1, 3))):
        tree = draw(_changed(tree))
    return _bytes(_dumped(tree))


@st.composite
def _kubeflow(draw: st.DrawFn) -> bytes:
    section = draw(st.sampled_from([tree["kubeflow"] for tree in _trees() if "kubeflow" in tree]))
    for _ in range(draw(st.integers(1, 3))):
        section = draw(_changed(section))
    return _bytes(_dumped(section))


def _keys(tree: Any, above: str = "") -> list[str]:
    if not isinstance(tree, dict):
        return [above]
    return [
        above,
        *(key for name in tree for key in _keys(tree[name], f"{above}.{name}".strip("."))),
    ]


@functools.cache
def _paths() -> list[str]:
    return sorted({path for tree in _trees() for path in _keys(tree)})


@st.composite
def _overrides(draw: st.DrawFn) -> bytes:
    lines = []
    for _ in range(draw(st.integers(1, 3))):
        key = draw(st.sampled_from(_paths()) | texts)
        lines.append(f"{key}={draw(texts | raw_yaml | values.map(json.dumps))}")
    return _bytes("\n".join(lines))


def _csv(rows: list[list[str]]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(rows)
    return _bytes(buffer.getvalue())


names_of_columns = st.one_of(st.sampled_from(("uri", "label", "breed", "URI", "label ")), texts)
cells = st.one_of(st.sampled_from(("a.jpg", "b.jpg", "cats/c.jpg", "cats", "dogs")), texts)
csv_manifests = st.builds(
    lambda header, rows: _csv([header, *rows]),
    st.just(["uri", "label", "breed"]) | st.lists(names_of_columns, max_size=5),
    st.lists(st.lists(cells, max_size=4), max_size=6)
    | st.lists(st.tuples(cells, cells).map(list), max_size=6),
)
json_lines = st.one_of(
    st.fixed_dictionaries({"uri": cells, "label": cells}, optional={"breed": values}).map(
        json.dumps
    ),
    st.dictionaries(names_of_columns, values, max_size=4).map(json.dumps),
    values.map(json.dumps),
    st.sampled_from(
        (
            '{"uri": "a.jpg", "uri": "b.jpg", "label": "cats"}',
            '{"uri": "\\ud800", "label": "cats"}',
            '{"uri": "a\\u0000.jpg", "label": "cats"}',
            '{"uri": "a.jpg", "label": ' + "9" * 5000 + "}",
            '{"uri": "a.jpg", "label": ' + "9" * 400 + ".5e5000}",
            '{"uri": "a.jpg", "label": "cats", "breed": ' + "[" * 5000,
            '{"uri": "a.jpg", "label": "cats", "breed": ' + '{"a":' * 900 + "1" + "}" * 901,
        )
    ),
    texts,
)
json_manifests = st.lists(json_lines, max_size=6).map(lambda lines: _bytes("\n".join(lines)))

gates = st.one_of(
    texts,
    st.lists(
        st.one_of(
            st.sampled_from(
                ("recall", "f1", "anomalies", "fp", "tp", ">=", "<=", ">", "<", "≥", "=")
            ),
            st.sampled_from(
                ("0.9", "1", "1e400", "nan", "-0", "1_0", "٣", "at", "prevalence", " ")
            ),
            numbers.map(str),
            texts,
        ),
        max_size=7,
    ).map(" ".join),
).map(_bytes)

STRATEGIES: dict[str, st.SearchStrategy[bytes]] = {
    "settings": _spoilt(_settings()),
    "override": _spoilt(_overrides()),
    "kubeflow": _spoilt(_kubeflow()),
    "gate": gates,
    "csv_manifest": _spoilt(csv_manifests),
    "json_manifest": _spoilt(json_manifests),
}
