"""The gateway's messages are TensorFlow Serving's, byte for byte."""

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
from gateway.upstream import UpstreamError, read_verdicts
from gateway.verdict import Verdict

GATEWAY = Path(__file__).resolve().parents[3] / "deploy" / "gateway"


@given(
    version=st.integers(1, 2**62),
    images=st.lists(st.binary(max_size=300), min_size=1, max_size=4),
)
def test_a_request_is_the_one_that_tensorflow_servings_own_library_makes(version, images):
    theirs = predict_pb2.PredictRequest()
    theirs.model_spec.name = "outnumbered"
    theirs.model_spec.version.value = version
    theirs.model_spec.signature_name = "predict_images"
    theirs.inputs["images"].CopyFrom(tf.make_tensor_proto(images, shape=[len(images)]))
    theirs.output_filter.extend(["probability", "is_positive"])
    ours = upstream.predict_request("outnumbered", version, images)
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(
        deterministic=True
    )


def test_a_request_for_the_status_is_theirs():
    theirs = get_model_status_pb2.GetModelStatusRequest()
    theirs.model_spec.name = "outnumbered"
    ours = serving_pb2.GetModelStatusRequest(model_spec={"name": "outnumbered"})
    assert ours.SerializeToString() == theirs.SerializeToString()


def test_states_and_types_have_their_numbers():
    theirs = dict(get_model_status_pb2.ModelVersionStatus.State.items())
    assert dict(serving_pb2.ModelVersionStatus.State.items()) == theirs
    for name, number in serving_pb2.DataType.items():
        assert types_pb2.DataType.Value(name) == number


def response(probabilities, positive, *, version=3, content=False):
    """As TensorFlow Serving sends it, read by the gateway's own messages."""
    theirs = predict_pb2.PredictResponse()
    theirs.model_spec.version.value = version
    for name, values, dtype in (
        ("probability", probabilities, np.float32),
        ("is_positive", positive, np.int64),
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
def test_verdicts_are_read_from_fields_and_from_content(content, shape):
    scores, positive = np.float32([0.1, 0.9, 0.9]), np.int64([0, 1, 1])
    found = response(scores.reshape(shape), positive.reshape(shape), content=content)
    assert read_verdicts(found, 3, 3) == [
        Verdict(float(np.float32(0.1)), False),
        Verdict(float(np.float32(0.9)), True),
        Verdict(float(np.float32(0.9)), True),
    ]


def test_one_number_stands_for_a_run_of_equal_ones_as_tensorflow_writes_it():
    found = response([0.5, 0.5, 0.5], [1, 1, 1])
    del found.outputs["probability"].float_val[1:]
    assert [verdict.probability for verdict in read_verdicts(found, 3, 3)] == [0.5] * 3


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (response([0.5], [1], version=4), "version 4"),
        (response([0.5, 0.5], [1, 1]), "shape"),
        (response([[0.5, 0.5]], [1]), "shape"),
        (response([float("nan")], [1]), "not in"),
        (response([1.5], [1]), "not in"),
        (serving_pb2.PredictResponse(model_spec={"version": {"value": 3}}), "missing"),
    ],
)
def test_an_answer_that_is_no_verdict_on_each_image_is_an_error(found, words):
    with pytest.raises(UpstreamError, match=words):
        read_verdicts(found, 3, 1)


def test_content_that_is_cut_off_is_an_error():
    found = response([0.5], [1], content=True)
    found.outputs["probability"].tensor_content = b"\x00\x00\x00"
    with pytest.raises(UpstreamError, match="0 numbers"):
        read_verdicts(found, 3, 1)


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_every_code_of_grpc_becomes_an_error_of_the_servers_side(code):
    error = UpstreamError(code.name, "node 'secret' failed").as_request_error()
    assert 502 <= error.status <= 504
    assert "secret" not in error.message


def test_the_messages_are_generated_from_the_proto(tmp_path):
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{GATEWAY}"]
    command += [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", "gateway/serving.proto"]
    subprocess.run(command, check=True, cwd=GATEWAY)
    for name in ("serving_pb2.py", "serving_pb2.pyi"):
        made = (tmp_path / "gateway" / name).read_text()
        assert made == (GATEWAY / "gateway" / name).read_text()
