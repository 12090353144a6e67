"""gRPC client of TensorFlow Serving: its served version, and its predictions for images."""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from gateway import serving_pb2 as messages
from gateway.errors import RequestError
from gateway.predictions import Prediction

# The exported model's signature, its input and its outputs.
SIGNATURE = "predict_images"
IMAGES = "images"
PROBABILITY = "probability"
IS_POSITIVE = "is_positive"
SCORE = "score"
NEEDS_REVIEW = "needs_review"
ADDED = (SCORE, NEEDS_REVIEW)
"""The outputs that models of earlier versions, without a calibration, do not have."""

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"

_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),  # the server is in the same pod
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
]

# `tensor_content` is little-endian on every platform that TensorFlow Serving is built for.
_CONTENT = {messages.DT_FLOAT: "f", messages.DT_INT64: "q"}
_VALUES = {messages.DT_FLOAT: "float_val", messages.DT_INT64: "int64_val"}


class UpstreamError(Exception):
    """TensorFlow Serving did not respond, or its response is invalid.

    Attributes:
      code: gRPC status, such as `UNAVAILABLE`; `ANSWER` if the response cannot be read.
      detail: for the log only, as it may name parts of the model.
    """

    def __init__(self, code: str, detail: str):
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail

    def as_request_error(self) -> RequestError:
        """Returns the error for the client."""
        busy = "the model server has no resources left for the request"
        status, message, retry_after = {
            "UNAVAILABLE": (503, "the model server cannot be reached", 2.0),
            "RESOURCE_EXHAUSTED": (503, busy, 2.0),
            "NOT_FOUND": (503, "the model server does not have the model", 2.0),
            "DEADLINE_EXCEEDED": (504, "the model server took too long", None),
        }.get(self.code, (502, f"the model server failed ({self.code})", None))
        return RequestError(status, "upstream", message, retry_after=retry_after)


@dataclass(frozen=True)
class Versions:
    """The versions of the model in TensorFlow Serving.

    Attributes:
      available: those that can serve predictions.
      loaded: those that are available, or being loaded or unloaded: their files are in use.
      failed: those that could not be loaded.
    """

    available: frozenset[int] = frozenset()
    loaded: frozenset[int] = frozenset()
    failed: frozenset[int] = frozenset()


class ModelServer:
    """A model in TensorFlow Serving."""

    def __init__(self, target: str, model: str, timeout: float):
        """Opens a channel, which connects on first use and reconnects after a failure.

        Args:
          target: `host:port` or `unix:/path`.
          model: name of the model in TensorFlow Serving.
          timeout: seconds per call.
        """
        self._model, self._timeout = model, timeout
        self._channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
        self._predict = self._channel.unary_unary(
            _PREDICT,
            request_serializer=messages.PredictRequest.SerializeToString,
            response_deserializer=messages.PredictResponse.FromString,
        )
        self._status = self._channel.unary_unary(
            _STATUS,
            request_serializer=messages.GetModelStatusRequest.SerializeToString,
            response_deserializer=messages.GetModelStatusResponse.FromString,
        )

    async def versions(self) -> Versions:
        """Returns the versions that the server knows.

        Raises:
          UpstreamError: there is no response.
        """
        request = messages.GetModelStatusRequest(model_spec={"name": self._model})
        response = await self._call(self._status, request)
        return read_versions(response)

    async def predict(
        self, version: int, images: Sequence[bytes], *, has_score: bool
    ) -> list[Prediction]:
        """Returns a version's predictions for images, in order, with one call.

        Args:
          version: version of the model.
          images: read images.
          has_score: whether this version returns `ADDED`.

        Raises:
          UpstreamError: there is no response, or it is not one prediction per image.
        """
        request = predict_request(self._model, version, images, has_score=has_score)
        response = await self._call(self._predict, request)
        return read_predictions(response, version, len(images), has_score=has_score)

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close()

    async def _call(self, method: Any, request: Any) -> Any:
        try:
            return await method(request, timeout=self._timeout)
        except grpc.aio.AioRpcError as error:
            raise UpstreamError(error.code().name, error.details() or "") from error


def read_versions(response: messages.GetModelStatusResponse) -> Versions:
    """Reads the versions in a response; one that was unloaded is in none of the sets."""
    states = messages.ModelVersionStatus
    every = response.model_version_status
    ended = [status for status in every if status.state == states.END]
    return Versions(
        frozenset(status.version for status in every if status.state == states.AVAILABLE),
        frozenset(status.version for status in every if status.state != states.END),
        frozenset(status.version for status in ended if status.status.error_code),
    )


def predict_request(
    model: str, version: int, images: Sequence[bytes], *, has_score: bool
) -> messages.PredictRequest:
    """Creates the request for predictions; a request for a missing output would be refused."""
    request = messages.PredictRequest()
    request.model_spec.name = model
    request.model_spec.version.value = version
    request.model_spec.signature_name = SIGNATURE
    tensor = request.inputs[IMAGES]
    tensor.dtype = messages.DT_STRING
    tensor.tensor_shape.dim.add(size=len(images))
    tensor.string_val.extend(images)
    request.output_filter.extend([PROBABILITY, IS_POSITIVE, *(ADDED if has_score else ())])
    return request


def read_predictions(
    response: messages.PredictResponse, version: int, count: int, *, has_score: bool
) -> list[Prediction]:
    """Reads the predictions in a response.

    Args:
      response: response of TensorFlow Serving.
      version: requested version.
      count: number of images that were sent.
      has_score: whether this version returns `ADDED`.

    Raises:
      UpstreamError: it is of another version, or not one prediction per image.
    """
    served = response.model_spec.version.value
    if served != version:
        raise UpstreamError("ANSWER", f"version must be {version}. Received: {served}")
    probabilities = _shares(response, PROBABILITY, count)
    positive = _flags(response, IS_POSITIVE, count)
    scores: Sequence[float | None] = [None] * count
    review: Sequence[bool | None] = [None] * count
    if has_score:
        scores, review = _shares(response, SCORE, count), _flags(response, NEEDS_REVIEW, count)
    return [
        Prediction(*outputs)
        for outputs in zip(probabilities, positive, scores, review, strict=True)
    ]


def _flags(response: messages.PredictResponse, name: str, count: int) -> list[bool]:
    return [bool(value) for value in _column(response, name, messages.DT_INT64, count)]


def _shares(response: messages.PredictResponse, name: str, count: int) -> list[float]:
    """Returns the values of an output from 0 to 1."""
    values = _column(response, name, messages.DT_FLOAT, count)
    if not all(math.isfinite(value) and 0 <= value <= 1 for value in values):
        raise UpstreamError("ANSWER", f"{name} must be in [0, 1]. Received: {values}")
    return values


def _column(response: messages.PredictResponse, name: str, dtype: Any, count: int) -> list[Any]:
    """Returns the values of an output of shape (count,) or (count, 1)."""
    tensor = response.outputs.get(name)
    if tensor is None or tensor.dtype != dtype:
        raise UpstreamError("ANSWER", f"output {name} is missing or is not of type {dtype}")
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if shape not in ([count], [count, 1]):
        raise UpstreamError("ANSWER", f"output {name} has shape {shape} for {count} images")
    values = _numbers(tensor, count)
    if len(values) != count:
        raise UpstreamError(
            "ANSWER", f"output {name} must hold {count} values. Received: {len(values)}"
        )
    return values


def _numbers(tensor: messages.TensorProto, count: int) -> list[Any]:
    """Returns the values of a tensor; its field may hold a run of equal last values only once."""
    if tensor.tensor_content:
        item = struct.Struct(f"<{_CONTENT[tensor.dtype]}")
        whole = len(tensor.tensor_content) % item.size == 0
        return [value for (value,) in item.iter_unpack(tensor.tensor_content)] if whole else []
    values = list(getattr(tensor, _VALUES[tensor.dtype]))
    return values + values[-1:] * (count - len(values))
