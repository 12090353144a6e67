"""Requests through the gateway to a stand-in for TensorFlow Serving."""

import base64
import json
import logging
import struct

import grpc
import pytest
from gateway_under_test import free_port, running, wait_until, write_rules
from images_of_each_kind import IMAGES
from pictures_on_disk import encoded, picture
from serving_stand_in import StandIn, probability_of
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from components.images.reader import read_image

PREDICT = "/v1/models/outnumbered:predict"
INFER = "/v2/models/outnumbered/infer"


DATA = list(IMAGES.values())


def b64(data):
    return base64.b64encode(data).decode()


def v1(images):
    return {"instances": [{"b64": b64(image)} for image in images]}


def v2(images, **fields):
    data = [b64(image) for image in images]
    tensor = {"name": "images", "shape": [len(images)], "datatype": "BYTES", "data": data}
    return {"inputs": [tensor], **fields}


def read(images, max_side=40):
    """Returns images as the project's reader encodes them."""
    return [read_image(image, max_side=max_side).data for image in images]


def predictions(images, max_side=40):
    """Returns the stand-in's predictions for images after the project's reader."""
    scores = [probability_of(image) for image in read(images, max_side)]
    return [{"probability": score, "is_positive": score >= 0.5} for score in scores]


def test_each_kind_of_image_reaches_the_model_server_as_the_reader_encodes_it(client, stand_in):
    response = client.post(PREDICT, v1(DATA))
    assert response.status == 200
    assert stand_in.seen == [(1, read(DATA))]
    assert response.json == {"predictions": predictions(DATA)}
    assert response.headers["X-Model-Version"] == "1"


def test_an_image_may_be_the_whole_body(client):
    for kind, image in IMAGES.items():
        response = client.post("/predict", image)
        assert response.json == {**predictions([image])[0], "model_version": "1"}, kind


def test_v2_returns_the_same_predictions(client):
    response = client.post(INFER, v2(DATA, id="a request"))
    assert response.status == 200
    score, positive = response.json["outputs"]
    expected = predictions(DATA)
    assert score["data"] == [item["probability"] for item in expected]
    assert positive["data"] == [item["is_positive"] for item in expected]
    assert response.json["id"] == "a request"
    assert (response.json["model_name"], response.json["model_version"]) == ("outnumbered", "1")


def test_v2_accepts_and_returns_binary_tensors(client):
    binary = b"".join(struct.pack("<I", len(image)) + image for image in DATA)
    tensor = {
        "name": "images",
        "shape": [len(DATA)],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(binary)},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    response = client.post(INFER, head + binary, headers=headers)
    start = int(response.headers["Inference-Header-Content-Length"])
    count = len(DATA)
    assert json.loads(response.body[:start])["model_version"] == "1"
    scores = struct.unpack(f"<{count}f", response.body[start : start + 4 * count])
    assert list(scores) == [item["probability"] for item in predictions(DATA)]
    assert len(response.body) == start + 5 * count


def test_all_refused_images_are_named_and_no_predictions_are_made(client, stand_in):
    broken = encoded(picture(1))[:300]
    response = client.post(PREDICT, v1([DATA[0], b"no image", b"", broken, DATA[1]]))
    assert response.status == 422
    found = {item["index"]: item["reason"] for item in response.json["refused"]}
    assert found == {1: "not_an_image", 2: "empty", 3: "undecodable"}
    assert all(item["detail"] for item in response.json["refused"])
    assert response.json["error"].startswith("3 of 5 images cannot be read")
    assert not stand_in.seen
    assert client.metric('refused_images_total{reason="undecodable"}') == 1
    assert client.metric('refused_requests_total{reason="image_refused"}') == 1


def test_the_pixel_limit_of_the_model_applies(tmp_path, stand_in):
    write_rules(tmp_path, 1, max_pixels=1000)
    with running(tmp_path, stand_in.target) as client:
        response = client.post("/predict", IMAGES["webp"])
    assert response.json["refused"][0]["reason"] == "too_large"


def test_the_model_server_may_send_values_as_bytes(client, stand_in):
    stand_in.as_content = True
    assert client.post(PREDICT, v1(DATA)).json == {"predictions": predictions(DATA)}


def test_status_metadata_and_readiness_are_served(client):
    ok = {"error_code": "OK", "error_message": ""}
    assert client.get("/v1/models/outnumbered").json == {
        "name": "outnumbered",
        "ready": True,
        "model_version_status": [{"version": "1", "state": "AVAILABLE", "status": ok}],
    }
    assert client.get("/v1/models").json == {"models": ["outnumbered"]}
    assert client.get("/v2").json["extensions"] == ["binary_tensor_data"]
    for path in ("/v2/models/outnumbered", "/v2/models/outnumbered/versions/1"):
        assert client.get(path).json["inputs"] == [
            {"name": "images", "datatype": "BYTES", "shape": [-1]}
        ]
        assert client.get(f"{path}/ready").json == {"name": "outnumbered", "ready": True}
    assert client.get("/v2/health/live").json == {"live": True}
    assert client.get("/v2/health/ready").json == {"ready": True}


def test_a_request_may_name_the_version(client):
    for path in (
        "/v1/models/outnumbered/versions/1:predict",
        PREDICT,
    ):
        assert client.post(path, v1(DATA[:1])).status == 200
    assert client.post("/v2/models/outnumbered/versions/1/infer", v2(DATA[:1])).status == 200


def test_unknown_paths_models_and_versions_get_an_error_in_json(client):
    for method, path, status in [
        ("POST", "/v1/models/other:predict", 404),
        ("POST", "/v1/models/outnumbered/versions/2:predict", 404),
        ("POST", "/v2/models/outnumbered/versions/2/infer", 404),
        ("GET", "/v1/models/other", 404),
        ("GET", "/v1/models/outnumbered/versions/2", 404),
        ("GET", "/v2/models/outnumbered/versions/x", 404),
        ("GET", "/v2/models/outnumbered/versions/" + "9" * 5000, 404),
        ("GET", "/nothing", 404),
        ("GET", "/v1/models/", 404),
        ("GET", "/healthz/", 404),
        ("GET", PREDICT, 404),
        ("GET", "/predict", 405),
        ("POST", "/metrics", 405),
        ("POST", "/v1/models/%0aX:predict", 404),
    ]:
        body = b"{}" if method == "POST" else None
        response = client.request(method, path, body=body, headers={"Host": "[elsewhere"})
        assert (response.status, response.json.keys()) == (status, {"error", "reason"}), path


def test_a_new_version_is_served_with_its_own_reading_rules(client, registry, stand_in):
    write_rules(registry, 2, max_side=20)
    stand_in.versions = {1: ModelVersionStatus.UNLOADING, 2: ModelVersionStatus.AVAILABLE}
    wait_until(lambda: client.metric("model_version") == 2, "version 2")
    response = client.post(PREDICT, v1(DATA))
    assert response.headers["X-Model-Version"] == "2"
    assert stand_in.seen == [(2, read(DATA, max_side=20))]
    assert response.json == {"predictions": predictions(DATA, max_side=20)}


def test_a_version_that_is_still_loading_gets_no_requests(client, registry, stand_in):
    write_rules(registry, 2, max_side=20)
    stand_in.versions = {1: ModelVersionStatus.AVAILABLE, 2: ModelVersionStatus.LOADING}
    calls = stand_in.status_calls
    wait_until(lambda: stand_in.status_calls > calls + 1, "status call")
    assert client.post(PREDICT, v1(DATA[:1])).headers["X-Model-Version"] == "1"


def test_a_version_unloaded_between_look_ups_is_replaced_by_its_successor(registry, stand_in):
    with running(registry, stand_in.target, poll_seconds=3600) as client:
        write_rules(registry, 2, max_side=20)
        stand_in.versions = {2: ModelVersionStatus.AVAILABLE}
        response = client.post(PREDICT, v1(DATA))
        assert response.headers["X-Model-Version"] == "2"
        assert response.json == {"predictions": predictions(DATA, max_side=20)}
        pinned = client.post("/v1/models/outnumbered/versions/1:predict", v1(DATA[:1]))
        assert pinned.status == 404
    assert stand_in.seen == [(2, read(DATA, max_side=20))]


@pytest.mark.parametrize("text", [None, "{", "[]", '{"version": 99}', "\xff"])
def test_a_model_without_valid_reading_rules_is_not_served(client, registry, stand_in, text):
    if text is not None:
        path = registry / "2" / "assets" / "reading_rules.json"
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="latin-1")
    stand_in.versions = {2: ModelVersionStatus.AVAILABLE}
    wait_until(lambda: client.get("/readyz").status == 503, "fault")
    assert "rules" in client.get("/readyz").body.decode()
    response = client.post(PREDICT, v1(DATA[:1]))
    assert (response.status, response.headers["Retry-After"]) == (503, "5")
    assert client.get("/v1/models/outnumbered").json["ready"] is False
    assert client.get("/v2/health/ready").status == 503
    assert client.get("/healthz").status == 200
    assert not stand_in.seen


def test_the_gateway_recovers_after_the_model_server_restarts(client, stand_in):
    stand_in.stop()
    response = client.post(PREDICT, v1(DATA[:1]))
    assert (response.status, response.json["reason"]) == (503, "upstream")
    assert response.headers["Retry-After"]
    wait_until(lambda: client.get("/readyz").status == 503, "fault")
    assert client.get("/healthz").status == 200
    assert client.metric('upstream_errors_total{code="UNAVAILABLE"}') == 1
    stand_in.start()
    wait_until(lambda: client.get("/readyz").status == 200, "readiness")
    assert client.post(PREDICT, v1(DATA)).json == {"predictions": predictions(DATA)}


def test_the_model_server_may_start_after_the_gateway(registry):
    stand_in = StandIn(port=free_port())
    with running(registry, stand_in.target, await_ready=False) as client:
        assert client.post(PREDICT, v1(DATA[:1])).status == 503
        assert client.get("/v1/models/outnumbered").json["model_version_status"] == []
        stand_in.start()
        wait_until(lambda: client.get("/readyz").status == 200, "readiness")
        assert client.post(PREDICT, v1(DATA[:1])).status == 200
    stand_in.stop()


def test_the_gateway_is_not_ready_until_the_model_server_has_a_version(registry, stand_in):
    stand_in.versions = {}
    with running(registry, stand_in.target, await_ready=False) as client:
        wait_until(lambda: b"no version" in client.get("/readyz").body, "reason")
        assert client.post(PREDICT, v1(DATA[:1])).status == 503
        stand_in.versions = {1: ModelVersionStatus.AVAILABLE}
        wait_until(lambda: client.get("/readyz").status == 200, "readiness")


def test_a_slow_model_server_gets_504(registry, stand_in):
    with running(registry, stand_in.target, upstream_timeout=0.3) as client:
        stand_in.delay = 1.0
        response = client.post(PREDICT, v1(DATA[:1]))
        assert (response.status, response.json["reason"]) == (504, "upstream")
        stand_in.delay = 0.0
        assert client.post(PREDICT, v1(DATA[:1])).status == 200
        assert client.metric('upstream_errors_total{code="DEADLINE_EXCEEDED"}') == 1


@pytest.mark.parametrize("code", ["INTERNAL", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"])
def test_error_details_of_the_model_server_are_not_sent_to_clients(client, stand_in, code):
    stand_in.failure = grpc.StatusCode[code]
    response = client.post(PREDICT, v1(DATA[:1]))
    assert response.status == (503 if code == "RESOURCE_EXHAUSTED" else 502)
    assert b"secret" not in response.body
    assert b"Traceback" not in response.body


def test_the_model_server_may_listen_on_a_unix_socket(registry, stand_in, tmp_path):
    stand_in.stop()
    stand_in.listen_at = f"unix:{tmp_path}/serving.sock"
    stand_in.start()
    with running(registry, stand_in.target) as client:
        assert client.post(PREDICT, v1(DATA)).json == {"predictions": predictions(DATA)}


def test_metrics_count_requests_predictions_and_refusals(client):
    client.post(PREDICT, v1(DATA))
    client.post("/predict", DATA[0])
    client.post("/predict", b"no image")
    client.post("/v1/models/outnumbered:predict", b"{")
    expected = [*predictions(DATA), *predictions(DATA[:1])]
    positive = sum(item["is_positive"] for item in expected)
    assert client.metric('verdicts_total{verdict="positive"}') == positive
    assert client.metric('verdicts_total{verdict="negative"}') == len(expected) - positive
    assert client.metric("score_count") == len(expected)
    half = sum(item["probability"] <= 0.5 for item in expected)
    assert client.metric('score_bucket{le="0.5"}') == half
    wait_until(lambda: client.metric('requests_total{route="v1",status="400"}') == 1, "count")
    assert client.metric('requests_total{route="v1",status="200"}') == 1
    assert client.metric('requests_total{route="raw",status="422"}') == 1
    assert client.metric('request_seconds_count{route="v1"}') == 2
    assert client.metric('refused_images_total{reason="not_an_image"}') == 1
    assert client.metric('refused_requests_total{reason="malformed"}') == 1
    assert client.metric("upstream_seconds_count") == 2
    assert client.metric("in_flight") == 0
    assert client.metric("model_version") == 1


def test_the_access_log_contains_no_image_data_and_no_token(client, caplog):
    caplog.set_level(logging.INFO)
    headers = {"Authorization": "Bearer s3cret"}
    client.post(f"{PREDICT}?token=s3cret", v1(DATA[:2]), headers=headers)
    client.post("/predict?token=s3cret", DATA[0][:40], headers=headers)

    def lines():
        return [json.loads(r.getMessage()) for r in caplog.records if r.name == "gateway.access"]

    wait_until(lambda: len(lines()) == 2, "log entries")  # they are written after the response
    predicted, refused = lines()
    assert predicted.pop("ms") > 0
    assert predicted == {
        "client": "127.0.0.1",
        "method": "POST",
        "route": "v1",
        "status": 200,
        "images": 2,
        "version": 1,
    }
    assert (refused["status"], refused["reason"]) == (422, "image_refused")
    assert "s3cret" not in caplog.text
    assert b64(DATA[0])[:20] not in caplog.text


def test_an_exception_in_the_gateway_is_logged_and_not_sent_to_clients(client, monkeypatch, caplog):
    def fail(found):
        raise RuntimeError("internal details")

    monkeypatch.setattr("gateway.protocol_v1.response_body", fail)
    response = client.post(PREDICT, v1(DATA[:1]))
    assert (response.status, response.json["reason"]) == (500, "internal")
    assert b"internal details" not in response.body
    assert "internal details" in caplog.text
    assert client.post(INFER, v2(DATA[:1])).status == 200
