"""What is told about a run, in words and as JSON."""

import datetime
import json
from typing import Any

import jsonschema

from components.notifications import schema
from components.notifications.message import Failure, Notification, RunReference, link_to, text

AT = datetime.datetime(2026, 11, 27, 3, 10, tzinfo=datetime.UTC)
LINK = "https://kfp.example.com/#/runs/details/r-1"


def notification(outcome: str = "failed", **more: Any) -> Notification:
    run = RunReference(id="r-1", name="pets-20261127T030000Z", link=LINK)
    given = {"outcome": outcome, "pipeline": "pets", "run": run, "sent_at": AT, **more}
    return Notification.model_validate(given)


def test_a_failed_run_is_told_with_step_reason_and_link():
    failure = Failure(step="Trainer", reason="Trainer failed: no image\nis left; add images")
    assert text(notification(failures=(failure,))).splitlines() == [
        "pets: the run failed in Trainer",
        "Run: pets-20261127T030000Z",
        "Trainer failed: no image is left; add images",
        LINK,
    ]


def test_a_reason_is_preceded_by_its_step_unless_it_names_it_or_none_is_known():
    failures = (Failure(step="Trainer", reason="killed"), Failure(reason="no step has said why"))
    lines = text(notification(failures=failures)).splitlines()
    assert lines[2:4] == ["Trainer: killed", "no step has said why"]


def test_many_and_long_reasons_are_cut():
    failures = [Failure(step=f"Trainer-{arm}", reason="x" * 5000) for arm in range(9)]
    found = text(notification(failures=failures))
    assert "in Trainer-0, Trainer-1, Trainer-2, Trainer-3, Trainer-4 and others" in found
    assert "… and 4 more" in found
    assert len(found) < 6000


def test_a_verdict_is_told_with_its_reason():
    found = notification("not_blessed", blessed=False, reason="recall is 0.84")
    assert text(found).splitlines()[0] == "pets: the model was NOT blessed"
    assert "Not blessed: recall is 0.84" in text(found)
    pushed = {"blessed": True, "reason": "all gates passed", "version": 7, "model": "s3://r/7"}
    assert text(notification("pushed", **pushed)).splitlines() == [
        "pets: version 7 was pushed",
        "Run: pets-20261127T030000Z",
        "Blessed: all gates passed",
        "Model: s3://r/7",
        LINK,
    ]


def test_a_run_that_pushed_nothing_new_is_finished():
    assert "pets: the run is finished\n" in text(notification("finished"))
    already = text(notification("finished", version=7))
    assert "finished, and its model is version 7 already" in already


def test_a_link_has_the_id_of_the_run():
    assert link_to("https://kfp.example.com/#/runs/details/{run}", "r-1") == LINK
    assert link_to(None, "r-1") is None


def test_the_page_of_the_schema_is_up_to_date_and_describes_every_key():
    assert schema.PATH.read_text(encoding="utf-8") == schema.json_schema(), (
        "run `python -m components.notifications.schema`"
    )
    page = json.loads(schema.json_schema())
    for part in (page, *page["$defs"].values()):
        for key, value in part["properties"].items():
            assert value.get("description") or "$ref" in value, key


def test_the_json_of_a_message_is_valid_and_that_of_another_version_is_not():
    page = jsonschema.Draft202012Validator(json.loads(schema.json_schema()))
    failure = Failure(step="Trainer", reason="killed")
    for each in (notification(failures=(failure,)), notification("pushed", version=7)):
        found = json.loads(json.dumps(each.as_json()))
        page.validate(found)
        assert found["text"].startswith(found["title"])
        assert not page.is_valid(found | {"schema_version": 2})
        assert not page.is_valid({key: found[key] for key in found if key != "outcome"})
