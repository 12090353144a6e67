"""The gateway's messages equal those of TensorFlow Serving, byte for byte."""

import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import get_model_status_pb2, predict_pb2

from gateway import serving_pb2, upstream
from gateway.predictions import Prediction
from gateway.upstream import UpstreamError, read_predictions

GATEWAY = Path(__file__).resolve().parents[3] / "deploy" / "gateway"


@given(
    version=st.integers(1, 2**62),
    images=st.lists(st.binary(max_size=300), min_size=1, max_size=4),
    has_score=st.booleans(),
)
def test_a_predict_request_equals_that_of_tensorflow_servings_library(version, images, has_score):
    theirs = predict_pb2.PredictRequest()
    theirs.model_spec.name = "outnumbered"
    theirs.model_spec.version.value = version
    theirs.model_spec.signature_name = "predict_images"
    theirs.inputs["images"].CopyFrom(tf.make_tensor_proto(images, shape=[len(images)]))
    theirs.output_filter.extend(
        ["probability", "is_positive"] + ["score", "needs_review"] * has_score
    )
    ours = upstream.predict_request("outnumbered", version, images, has_score=has_score)
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(
        deterministic=True
    )


def test_a_status_request_equals_that_of_tensorflow_servings_library():
    theirs = get_model_status_pb2.GetModelStatusRequest()
    theirs.model_spec.name = "outnumbered"
    ours = serving_pb2.GetModelStatusRequest(model_spec={"name": "outnumbered"})
    assert ours.SerializeToString() == theirs.SerializeToString()


def test_states_and_types_have_the_numbers_of_tensorflow_serving():
    theirs = dict(get_model_status_pb2.ModelVersionStatus.State.items())
    assert dict(serving_pb2.ModelVersionStatus.State.items()) == theirs
    for name, number in serving_pb2.DataType.items():
        assert types_pb2.DataType.Value(name) == number


def test_a_version_failed_if_it_ended_with_an_error_and_its_files_are_in_use_until_it_ends():
    states = get_model_status_pb2.ModelVersionStatus
    theirs = get_model_status_pb2.GetModelStatusResponse()
    for version, (state, code) in enumerate(
        [("AVAILABLE", 0), ("LOADING", 0), ("UNLOADING", 0), ("END", 0), ("END", 2)], 1
    ):
        status = theirs.model_version_status.add(version=version, state=states.State.Value(state))
        status.status.error_code = code
    ours = serving_pb2.GetModelStatusResponse.FromString(theirs.SerializeToString())
    assert upstream.read_versions(ours) == upstream.Versions(
        available=frozenset({1}), loaded=frozenset({1, 2, 3}), failed=frozenset({5})
    )


def response(probabilities, positive, *, version=3, content=False, scores=None, review=None):
    """Returns a response of TensorFlow Serving, parsed by the gateway's messages."""
    theirs = predict_pb2.PredictResponse()
    theirs.model_spec.version.value = version
    for name, values, dtype in (
        ("probability", probabilities, np.float32),
        ("is_positive", positive, np.int64),
        *([("score", scores, np.float32)] if scores is not None else []),
        *([("needs_review", review, np.int64)] if review is not None else []),
    ):
        array = np.asarray(values, dtype)
        tensor = tf.make_tensor_proto(array)
        if content:
            tensor.ClearField("float_val")
            tensor.ClearField("int64_val")
            tensor.tensor_content = array.tobytes()
        theirs.outputs[name].CopyFrom(tensor)
    return serving_pb2.PredictResponse.FromString(theirs.SerializeToString())


@pytest.mark.parametrize("content", [False, True])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_predictions_are_read_from_value_fields_and_from_tensor_content(content, shape):
    scores, positive = np.float32([0.1, 0.9, 0.9]), np.int64([0, 1, 1])
    found = response(scores.reshape(shape), positive.reshape(shape), content=content)
    assert read_predictions(found, 3, 3, has_score=False) == [
        Prediction(float(np.float32(0.1)), False),
        Prediction(float(np.float32(0.9)), True),
        Prediction(float(np.float32(0.9)), True),
    ]


def test_score_and_need_for_a_review_are_read_if_the_model_has_them():
    found = response([0.1, 0.9], [0, 1], scores=[[0.25], [0.75]], review=[[1], [0]])
    assert read_predictions(found, 3, 2, has_score=True) == [
        Prediction(float(np.float32(0.1)), False, 0.25, True),
        Prediction(float(np.float32(0.9)), True, 0.75, False),
    ]


@pytest.mark.parametrize(
    ("scores", "review", "words"),
    [
        (None, [1], "output score is missing"),
        ([2.0], [1], "score must be"),
        ([0.5], None, "output needs_review is missing"),
    ],
)
def test_a_missing_or_invalid_score_or_need_for_a_review_is_an_error(scores, review, words):
    found = response([0.5], [1], scores=scores, review=review)
    with pytest.raises(UpstreamError, match=words):
        read_predictions(found, 3, 1, has_score=True)


def test_equal_last_values_that_tensorflow_writes_once_are_repeated():
    found = response([0.5, 0.5, 0.5], [1, 1, 1])
    del found.outputs["probability"].float_val[1:]
    read = read_predictions(found, 3, 3, has_score=False)
    assert [item.probability for item in read] == [0.5] * 3


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (response([0.5], [1], version=4), "version must be 3. Received: 4"),
        (response([0.5, 0.5], [1, 1]), "shape"),
        (response([[0.5, 0.5]], [1]), "shape"),
        (response([float("nan")], [1]), r"must be in \[0, 1\]"),
        (response([1.5], [1]), r"must be in \[0, 1\]"),
        (serving_pb2.PredictResponse(model_spec={"version": {"value": 3}}), "missing"),
    ],
)
def test_a_response_without_one_prediction_per_image_is_an_error(found, words):
    with pytest.raises(UpstreamError, match=words):
        read_predictions(found, 3, 1, has_score=False)


def test_truncated_tensor_content_is_an_error():
    found = response([0.5], [1], content=True)
    found.outputs["probability"].tensor_content = b"\x00\x00\x00"
    with pytest.raises(UpstreamError, match=r"must hold 1 values\. Received: 0"):
        read_predictions(found, 3, 1, has_score=False)


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_every_grpc_status_becomes_a_5xx_error_without_its_details(code):
    error = UpstreamError(code.name, "node 'secret' failed").as_request_error()
    assert 502 <= error.status <= 504
    assert "secret" not in error.message


def test_the_committed_messages_are_generated_from_the_proto(tmp_path):
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{GATEWAY}"]
    command += [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", "gateway/serving.proto"]
    subprocess.run(command, check=True, cwd=GATEWAY)
    for name in ("serving_pb2.py", "serving_pb2.pyi"):
        made = (tmp_path / "gateway" / name).read_text()
        assert made == (GATEWAY / "gateway" / name).read_text()
