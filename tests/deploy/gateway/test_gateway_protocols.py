"""The V1 and V2 protocols as pure functions of documents and bytes."""

import base64
import contextlib
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import protocol_v1, protocol_v2
from gateway.errors import RequestError
from gateway.predictions import Prediction, PredictionResult

KEYS = st.sampled_from(
    ["instances", "inputs", "outputs", "b64", "images", "name", "shape", "datatype", "data", "id"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)

RESULT = PredictionResult(7, [Prediction(0.25, False), Prediction(0.75, True)])


def b64(data):
    return base64.b64encode(data).decode()


def v1(document):
    return protocol_v1.images(document, max_images=3)


def v2(document, binary=b""):
    return protocol_v2.images(document, binary, max_images=3)


def tensor(**fields):
    found = {"name": "images", "datatype": "BYTES", "shape": [1], "data": [b64(b"x")]}
    return {"inputs": [{**found, **fields}]}


def packed(images):
    return b"".join(struct.pack("<I", len(image)) + image for image in images)


def test_v1_accepts_an_image_with_and_without_the_name_of_an_input():
    image = {"b64": b64(b"one")}
    document = {
        "signature_name": "predict_images",
        "instances": [image, {"image_bytes": image}, {"images": image}],
    }
    assert v1(document) == [b"one"] * 3


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "instances must be a list"),
        ({"instances": {}}, "instances must be a list"),
        ({"instances": []}, "at least one image"),
        ({"instances": [{"b64": ""}] * 4}, "at most 3 images per request. Received: 4"),
        ({"instances": ["aaaa"]}, r"instances\[0\]"),
        ({"instances": [{"b64": b64(b"x")}, {}]}, r"instances\[1\]"),
        ({"instances": [{"b64": "a", "c": 1}]}, r"instances\[0\]"),
        ({"instances": [{"text": {"b64": "aaaa"}}]}, "image_bytes"),
        ({"instances": [{"b64": 3}]}, r"instances\[0\].b64 must be a base64 string"),
        ({"instances": [{"b64": "aaa"}]}, "base64"),
        ({"instances": [{"b64": "aa\naa"}]}, "on one line"),
        ({"instances": [{"b64": "aa-_"}]}, "base64"),
        ({"instances": [{"b64": "é"}]}, "base64"),
        ({"instances": [], "inputs": []}, "inputs"),
        ({"instances": [], "signature_name": "serving_default"}, "serving_default"),
    ],
)
def test_v1_refuses_invalid_documents_with_a_message(document, words):
    with pytest.raises(RequestError, match=words) as caught:
        v1(document)
    assert caught.value.status == 400


def test_v1_returns_one_prediction_per_instance():
    assert protocol_v1.response_body(RESULT) == {
        "predictions": [
            {"probability": 0.25, "is_positive": False},
            {"probability": 0.75, "is_positive": True},
        ]
    }


@pytest.mark.parametrize("shape", [[2], [2, 1]])
def test_v2_accepts_base64_and_binary_data(shape):
    images = [b"one", b"second"]
    assert v2(tensor(shape=shape, data=[b64(image) for image in images])) == images
    binary = packed(images)
    document = tensor(shape=shape, parameters={"binary_data_size": len(binary)})
    del document["inputs"][0]["data"]
    assert v2(document, binary) == images


@pytest.mark.parametrize(
    ("document", "binary", "words"),
    [
        ({}, b"", "inputs"),
        ({"inputs": []}, b"", "one tensor"),
        ({"inputs": [1]}, b"", "one tensor"),
        (tensor(name="image"), b"", "must be images. Received: 'image'"),
        (tensor(datatype="FP32"), b"", "BYTES"),
        (tensor(shape=[2]), b"", "2 images according to its shape. Received: 1"),
        (tensor(shape=[0], data=[]), b"", "at least one"),
        (tensor(shape=[4]), b"", "at most 3"),
        (tensor(shape=[1, 2]), b"", "shape"),
        (tensor(shape=[True]), b"", "shape"),
        (tensor(shape="1"), b"", "shape"),
        (tensor(shape=[-1]), b"", "shape"),
        (tensor(data="eA=="), b"", "list"),
        (tensor(data=["%"]), b"", r"data\[0\]"),
        (tensor(), b"more", "binary_data_size is required"),
        (tensor(parameters={"binary_data_size": 5}), packed([b"x"]), "data must not be set"),
        (tensor(parameters=[]), b"", "parameters"),
    ],
)
def test_v2_refuses_invalid_documents_with_a_message(document, binary, words):
    with pytest.raises(RequestError, match=words) as caught:
        v2(document, binary)
    assert caught.value.status == 400


@given(binary=st.binary(max_size=40))
def test_v2_refuses_binary_data_with_incomplete_elements(binary):
    document = tensor(shape=[2], parameters={"binary_data_size": len(binary)})
    del document["inputs"][0]["data"]
    with contextlib.suppress(RequestError):
        assert packed(v2(document, binary)) == binary


@pytest.mark.parametrize("length", ["-1", "3", "x", "", "²", "9" * 30])
def test_v2_refuses_a_header_length_outside_the_body(length):
    with pytest.raises(RequestError, match="Inference-Header-Content-Length"):
        protocol_v2.split(b"{}", length)


def v2_response(document, result=RESULT, *, has_score=False):
    return protocol_v2.response_body(
        result,
        model="m",
        outputs=protocol_v2.requested_outputs(document, has_score=has_score),
        identifier=protocol_v2.request_id(document),
    )


def test_v2_returns_json():
    body, length = v2_response({"id": "a"})
    assert length is None
    assert json.loads(body) == {
        "model_name": "m",
        "model_version": "7",
        "id": "a",
        "outputs": [
            {"name": "probability", "datatype": "FP32", "shape": [2], "data": [0.25, 0.75]},
            {"name": "is_positive", "datatype": "BOOL", "shape": [2], "data": [False, True]},
        ],
    }


def test_both_protocols_return_score_and_need_for_a_review_of_a_model_that_has_them():
    result = PredictionResult(7, [Prediction(0.25, False, 0.5, True)])
    assert protocol_v1.response_body(result)["predictions"] == [
        {"probability": 0.25, "is_positive": False, "score": 0.5, "needs_review": True}
    ]
    body, _ = v2_response({}, result, has_score=True)
    assert json.loads(body)["outputs"][2:] == [
        {"name": "score", "datatype": "FP32", "shape": [1], "data": [0.5]},
        {"name": "needs_review", "datatype": "BOOL", "shape": [1], "data": [True]},
    ]
    outputs = protocol_v2.metadata("m", 7, has_score=True)["outputs"]
    assert [output["name"] for output in outputs] == [
        *("probability", "is_positive", "score", "needs_review"),
    ]


@pytest.mark.parametrize("name", ["score", "needs_review"])
def test_v2_refuses_a_request_for_an_output_that_the_model_does_not_have(name):
    with pytest.raises(RequestError, match=r"must be one of probability, is_positive\. Received"):
        v2_response({"outputs": [{"name": name}]})


def test_v2_returns_the_requested_outputs_in_binary_if_requested():
    outputs = [
        {"name": "is_positive"},
        {"name": "probability", "parameters": {"binary_data": True}},
    ]
    body, length = v2_response({"outputs": outputs})
    assert body[length:] == struct.pack("<2f", 0.25, 0.75)
    assert json.loads(body[:length])["outputs"] == [
        {"name": "is_positive", "datatype": "BOOL", "shape": [2], "data": [False, True]},
        {
            "name": "probability",
            "datatype": "FP32",
            "shape": [2],
            "parameters": {"binary_data_size": 8},
        },
    ]
    body, length = v2_response({"parameters": {"binary_data_output": True}})
    assert body[length:] == struct.pack("<2f", 0.25, 0.75) + b"\x00\x01"


@pytest.mark.parametrize(
    "document",
    [
        {"outputs": [{"name": "score"}]},
        {"outputs": "probability"},
        {"outputs": ["probability"]},
        {"id": 3},
    ],
)
def test_v2_refuses_unknown_outputs(document):
    with pytest.raises(RequestError) as caught:
        v2_response(document)
    assert caught.value.status == 400


@given(document=st.dictionaries(KEYS, JSON, max_size=3), binary=st.binary(max_size=8))
def test_any_other_json_raises_a_request_error(document, binary):
    with pytest.raises(RequestError):
        v1(document)
    with pytest.raises(RequestError):
        v2(document, binary)
    with contextlib.suppress(RequestError):
        v2_response(document)
