"""The findings of the data check, and their description in words.

Imports the standard library only, so that checks of the settings stay fast.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

_SHOWN = 5
NOT_CHECKED = "no schema has been kept yet; this run's schema is kept if its model is blessed"

Findings = Mapping[str, Any]
"""`checked` (whether there was a kept schema to check against), `schema` (its folder, and the time
and version with which it was kept; None without one), and `anomalies`, a list of rows of `feature`,
`kind`, `found` and `expected`."""


def of_check(origin: Mapping[str, Any], anomalies: Sequence[Mapping[str, str]]) -> Findings:
    """Returns the findings of a check against a kept schema."""
    return {"checked": True, "schema": dict(origin), "anomalies": list(anomalies)}


def not_checked() -> Findings:
    """Returns the findings if no schema has been kept yet."""
    return {"checked": False, "schema": None, "anomalies": []}


def sentence(anomaly: Mapping[str, str]) -> str:
    """Describes an anomaly: `new class in class_name: 'foxes' (12 images), expected …`."""
    where = f"{anomaly['kind']} in {anomaly['feature']}"
    return f"{where}: {anomaly['found']}, expected {anomaly['expected']}"


def summary(findings: Findings) -> str:
    """Describes the first anomalies, the number of further ones, and what to do."""
    anomalies = findings["anomalies"]
    shown = [sentence(anomaly) for anomaly in anomalies[:_SHOWN]]
    more = [f"and {len(anomalies) - _SHOWN:,} more"] if len(anomalies) > _SHOWN else []
    return f"{'; '.join([*shown, *more])}; {advice(findings)}"


def source(findings: Findings) -> str:
    """Describes the schema that the data was checked against."""
    if not findings["checked"]:
        return NOT_CHECKED
    kept = findings["schema"]
    return (
        f"the schema of version {kept['version']}, kept {kept['time']} from "
        f"{kept['images']:,} images"
    )


def advice(findings: Findings) -> str:
    """Describes what to do about anomalies."""
    folder = findings["schema"]["folder"]
    return (
        f"correct the data, or, to accept it, edit {os.path.join(folder, 'schema.pbtxt')}, or "
        f"delete {folder} to start over with the next blessed model"
    )
