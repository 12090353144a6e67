"""A gRPC client of TensorFlow Serving: which version it serves, and its verdicts on images."""

import math
import struct
from collections.abc import Sequence
from typing import Any

import grpc

from gateway import serving_pb2 as messages
from gateway.errors import RequestError
from gateway.verdict import Verdict

# The exported model's signature, its input and its outputs.
SIGNATURE = "predict_images"
IMAGES = "images"
PROBABILITY = "probability"
IS_POSITIVE = "is_positive"

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"

_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),  # the server is in the same pod
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
]

# Numbers in `tensor_content`: little-endian on every machine that TensorFlow Serving is built for.
_CONTENT = {messages.DT_FLOAT: "f", messages.DT_INT64: "q"}
_VALUES = {messages.DT_FLOAT: "float_val", messages.DT_INT64: "int64_val"}


class UpstreamError(Exception):
    """TensorFlow Serving did not answer, or not with verdicts.

    Attributes:
      code: gRPC's name of it, such as `UNAVAILABLE`; `ANSWER` where the answer cannot be read.
      detail: for the log only; it may name parts of the model.
    """

    def __init__(self, code: str, detail: str):
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail

    def as_request_error(self) -> RequestError:
        """What the one who sent the request is told."""
        busy = "the model server has no room for the request"
        status, message, retry_after = {
            "UNAVAILABLE": (503, "the model server cannot be reached", 2.0),
            "RESOURCE_EXHAUSTED": (503, busy, 2.0),
            "NOT_FOUND": (503, "the model server has no such model", 2.0),
            "DEADLINE_EXCEEDED": (504, "the model server took too long", None),
        }.get(self.code, (502, f"the model server failed ({self.code})", None))
        return RequestError(status, "upstream", message, retry_after=retry_after)


class ModelServer:
    """A model of TensorFlow Serving."""

    def __init__(self, target: str, model: str, timeout: float):
        """Opens a channel, which connects when it is first used, and again after a loss.

        Args:
          target: `host:port` or `unix:/path`.
          model: its name there.
          timeout: seconds for each call.
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

    async def available_version(self) -> int | None:
        """The newest version that can be asked for verdicts; None where there is none.

        Raises:
          UpstreamError: there is no answer.
        """
        request = messages.GetModelStatusRequest(model_spec={"name": self._model})
        response = await self._call(self._status, request)
        versions = [
            status.version
            for status in response.model_version_status
            if status.state == messages.ModelVersionStatus.AVAILABLE
        ]
        return max(versions, default=None)

    async def verdicts(self, version: int, images: Sequence[bytes]) -> list[Verdict]:
        """One version's verdicts on images, in their order, in one call.

        Raises:
          UpstreamError: there is no answer, or it is not a verdict on each image.
        """
        response = await self._call(self._predict, predict_request(self._model, version, images))
        return read_verdicts(response, version, len(images))

    async def close(self) -> None:
        """Ends the channel."""
        await self._channel.close()

    async def _call(self, method: Any, request: Any) -> Any:
        try:
            return await method(request, timeout=self._timeout)
        except grpc.aio.AioRpcError as error:
            raise UpstreamError(error.code().name, error.details() or "") from error


def predict_request(model: str, version: int, images: Sequence[bytes]) -> messages.PredictRequest:
    """The request for verdicts on images."""
    request = messages.PredictRequest()
    request.model_spec.name = model
    request.model_spec.version.value = version
    request.model_spec.signature_name = SIGNATURE
    tensor = request.inputs[IMAGES]
    tensor.dtype = messages.DT_STRING
    tensor.tensor_shape.dim.add(size=len(images))
    tensor.string_val.extend(images)
    request.output_filter.extend([PROBABILITY, IS_POSITIVE])
    return request


def read_verdicts(response: messages.PredictResponse, version: int, count: int) -> list[Verdict]:
    """The verdicts that a response holds.

    Args:
      response: of TensorFlow Serving.
      version: that was asked for.
      count: of images that were sent.

    Raises:
      UpstreamError: it is another version's, or not a verdict on each image.
    """
    served = response.model_spec.version.value
    if served != version:
        raise UpstreamError("ANSWER", f"version {served} answered for version {version}")
    probabilities = _column(response, PROBABILITY, messages.DT_FLOAT, count)
    positive = _column(response, IS_POSITIVE, messages.DT_INT64, count)
    if not all(math.isfinite(value) and 0 <= value <= 1 for value in probabilities):
        raise UpstreamError("ANSWER", f"{PROBABILITY} is not in [0, 1]: {probabilities}")
    return [Verdict(p, bool(i)) for p, i in zip(probabilities, positive, strict=True)]


def _column(response: messages.PredictResponse, name: str, dtype: Any, count: int) -> list[Any]:
    """The numbers of an output of shape (count,) or (count, 1)."""
    tensor = response.outputs.get(name)
    if tensor is None or tensor.dtype != dtype:
        raise UpstreamError("ANSWER", f"output {name} is missing, or not of type {dtype}")
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if shape not in ([count], [count, 1]):
        raise UpstreamError("ANSWER", f"output {name} has shape {shape} for {count} images")
    values = _numbers(tensor, count)
    if len(values) != count:
        raise UpstreamError("ANSWER", f"output {name} holds {len(values)} numbers, not {count}")
    return values


def _numbers(tensor: messages.TensorProto, count: int) -> list[Any]:
    """The tensor's numbers; of a run of equal ones at the end, one may stand for all."""
    if tensor.tensor_content:
        item = struct.Struct(f"<{_CONTENT[tensor.dtype]}")
        whole = len(tensor.tensor_content) % item.size == 0
        return [value for (value,) in item.iter_unpack(tensor.tensor_content)] if whole else []
    values = list(getattr(tensor, _VALUES[tensor.dtype]))
    return values + values[-1:] * (count - len(values))
