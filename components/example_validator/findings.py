"""What the check of the data came to, and how it is said.

Nothing is imported that a check of settings would have to wait for.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

_SHOWN = 5
NOT_CHECKED = "no schema is kept yet: this run's is kept if its model is blessed"

Findings = Mapping[str, Any]
"""`checked` (whether there was a schema to check against), `schema` (where, when and with which
version it was kept; None where none was), and `anomalies`, a list of rows of `feature`, `kind`,
`found` and `expected`."""


def of_check(origin: Mapping[str, Any], anomalies: Sequence[Mapping[str, str]]) -> Findings:
    """The findings of a check against a kept schema."""
    return {"checked": True, "schema": dict(origin), "anomalies": list(anomalies)}


def not_checked() -> Findings:
    """The findings where no schema was kept yet."""
    return {"checked": False, "schema": None, "anomalies": []}


def sentence(anomaly: Mapping[str, str]) -> str:
    """An anomaly in words, such as `new class in class_name: 'foxes' (12 images), expected …`."""
    where = f"{anomaly['kind']} in {anomaly['feature']}"
    return f"{where}: {anomaly['found']}, expected {anomaly['expected']}"


def summary(findings: Findings) -> str:
    """The first anomalies in words, how many more there are, and what to do."""
    anomalies = findings["anomalies"]
    shown = [sentence(anomaly) for anomaly in anomalies[:_SHOWN]]
    more = [f"and {len(anomalies) - _SHOWN:,} more"] if len(anomalies) > _SHOWN else []
    return f"{'; '.join([*shown, *more])}; {advice(findings)}"


def source(findings: Findings) -> str:
    """Which schema the data was checked against, in words."""
    if not findings["checked"]:
        return NOT_CHECKED
    kept = findings["schema"]
    return (
        f"the schema of version {kept['version']}, kept {kept['time']} from "
        f"{kept['images']:,} images"
    )


def advice(findings: Findings) -> str:
    """What to do about anomalies."""
    folder = findings["schema"]["folder"]
    return (
        f"correct the data; or accept it: edit {os.path.join(folder, 'schema.pbtxt')}, or delete "
        f"{folder} to start anew with the next blessed model"
    )
