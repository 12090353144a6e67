"""The V2 or Open Inference protocol, with its extension for binary tensors.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md,
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import json
import struct
from collections.abc import Sequence
from typing import Any

from gateway.base64_images import check_count, decode
from gateway.errors import malformed, shortened
from gateway.predictions import PredictionResult
from gateway.upstream import ADDED, IMAGES, IS_POSITIVE, NEEDS_REVIEW, PROBABILITY, SCORE

_DATATYPES = {PROBABILITY: "FP32", IS_POSITIVE: "BOOL", SCORE: "FP32", NEEDS_REVIEW: "BOOL"}
_PACKED = {PROBABILITY: "<f", IS_POSITIVE: "<?", SCORE: "<f", NEEDS_REVIEW: "<?"}

SERVER = {
    "name": "outnumbered-gateway",
    "version": "2",
    "extensions": ["binary_tensor_data"],
}


def metadata(model: str, version: int, *, has_score: bool) -> dict[str, Any]:
    """Returns the metadata of a model."""
    outputs = [
        {"name": name, "datatype": _DATATYPES[name], "shape": [-1]} for name in _names(has_score)
    ]
    return {
        "name": model,
        "versions": [str(version)],
        "platform": "tensorflow_savedmodel",
        "inputs": [{"name": IMAGES, "datatype": "BYTES", "shape": [-1]}],
        "outputs": outputs,
    }


def _names(has_score: bool) -> list[str]:
    return [name for name in _DATATYPES if has_score or name not in ADDED]


def split(body: bytes, header_length: str | None) -> tuple[bytes, bytes]:
    """Splits a body into its JSON and the binary tensors that follow it.

    Args:
      body: the whole body.
      header_length: the header `Inference-Header-Content-Length`; None if it is not set.

    Raises:
      RequestError: 400, if the header is not a length within the body.
    """
    if header_length is None:
        return body, b""
    if not header_length.isascii() or not header_length.isdigit():
        raise _wrong_header_length(header_length, len(body))
    if len(header_length) > 18 or int(header_length) > len(body):
        raise _wrong_header_length(header_length, len(body))
    return body[: int(header_length)], body[int(header_length) :]


def _wrong_header_length(received: str, length: int) -> Exception:
    return malformed(
        f"Inference-Header-Content-Length must be from 0 to the body's length, {length}. "
        f"Received: {shortened(received)}"
    )


def images(document: dict[str, Any], binary: bytes, *, max_images: int) -> list[bytes]:
    """Returns the images of a request: one BYTES input `images`, base64 in JSON or binary data.

    Raises:
      RequestError: 400, if it does not follow the protocol or has too many images.
    """
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise malformed(f"inputs must be a list of one tensor. Received: {shortened(inputs)}")
    (tensor,) = inputs
    _check_is(tensor, "name", IMAGES)
    _check_is(tensor, "datatype", "BYTES")
    count = _count(tensor.get("shape"))
    check_count(count, max_images)
    found = _elements(tensor, binary, count)
    if len(found) != count:
        raise malformed(
            f"inputs[0] must hold {count} images according to its shape. Received: {len(found)}"
        )
    return found


def _check_is(tensor: dict[str, Any], key: str, value: str) -> None:
    if tensor.get(key) != value:
        raise malformed(f"inputs[0].{key} must be {value}. Received: {shortened(tensor.get(key))}")


def _count(shape: Any) -> int:
    sizes = shape if isinstance(shape, list) else []
    whole = all(isinstance(size, int) and not isinstance(size, bool) for size in sizes)
    if not whole or not (len(sizes) == 1 or (len(sizes) == 2 and sizes[1] == 1)) or sizes[0] < 0:
        raise malformed(f"inputs[0].shape must be [n] or [n, 1]. Received: {shortened(shape)}")
    return sizes[0]


def _elements(tensor: dict[str, Any], binary: bytes, count: int) -> list[bytes]:
    size = _parameters(tensor).get("binary_data_size")
    if size is None:
        if binary:
            raise malformed(
                "inputs[0].parameters.binary_data_size is required if binary data follows the JSON"
            )
        data = tensor.get("data")
        if not isinstance(data, list):
            raise malformed(f"inputs[0].data must be a list. Received: {shortened(data)}")
        return [decode(text, f"inputs[0].data[{i}]") for i, text in enumerate(data)]
    if size != len(binary) or "data" in tensor:
        raise malformed(
            f"inputs[0].parameters.binary_data_size must be {len(binary)}, the bytes after the "
            f"JSON, and inputs[0].data must not be set. Received: {shortened(size)}"
        )
    return _unpacked(binary, count)


def _unpacked(binary: bytes, count: int) -> list[bytes]:
    """Returns the elements of a BYTES tensor, each after its length in 4 bytes, little-endian."""
    found: list[bytes] = []
    position = 0
    while position < len(binary) and len(found) <= count:
        start = position + 4
        end = start + int.from_bytes(binary[position:start], "little")
        if start > len(binary) or end > len(binary):
            raise malformed(f"inputs[0] ends within element {len(found)} of its binary data")
        found.append(binary[start:end])
        position = end
    return found


def _parameters(holder: dict[str, Any]) -> dict[str, Any]:
    parameters = holder.get("parameters", {})
    if not isinstance(parameters, dict):
        raise malformed(f"parameters must be an object. Received: {shortened(parameters)}")
    return parameters


def requested_outputs(document: dict[str, Any], *, has_score: bool) -> dict[str, bool]:
    """Returns the requested outputs (default: all), and whether each is returned as binary data.

    Raises:
      RequestError: 400, if an output does not exist.
    """
    names = _names(has_score)
    all_binary = _parameters(document).get("binary_data_output") is True
    outputs = document.get("outputs", [])
    if not isinstance(outputs, list):
        raise malformed(f"outputs must be a list. Received: {shortened(outputs)}")
    found = {}
    for output in outputs:
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str) or name not in names:
            raise malformed(
                f"an output must be one of {', '.join(names)}. Received: {shortened(output)}"
            )
        found[name] = _parameters(output).get("binary_data", all_binary) is True
    return found or dict.fromkeys(names, all_binary)


def request_id(document: dict[str, Any]) -> str | None:
    """Returns the id of a request, which the response repeats.

    Raises:
      RequestError: 400, if it is not a string.
    """
    found = document.get("id")
    if found is not None and not isinstance(found, str):
        raise malformed(f"id must be a string. Received: {shortened(found)}")
    return found


def response_body(
    result: PredictionResult, *, model: str, outputs: dict[str, bool], identifier: str | None
) -> tuple[bytes, int | None]:
    """Returns the body of the response, and the length of its JSON if binary tensors follow."""
    tensors, tail = [], b""
    has_score = all(prediction.score is not None for prediction in result.predictions)
    for name, binary in outputs.items():
        if name in ADDED and not has_score:
            continue  # a version without it has replaced the one for which it was requested
        values = [getattr(prediction, name) for prediction in result.predictions]
        tensor: dict[str, Any] = {
            "name": name,
            "datatype": _DATATYPES[name],
            "shape": [len(values)],
        }
        if binary:
            packed = _packed(name, values)
            tail += packed
            tensor["parameters"] = {"binary_data_size": len(packed)}
        else:
            tensor["data"] = values
        tensors.append(tensor)
    document: dict[str, Any] = {"model_name": model, "model_version": str(result.version)}
    if identifier is not None:
        document["id"] = identifier
    header = json.dumps({**document, "outputs": tensors}).encode()
    return header + tail, len(header) if any(outputs.values()) else None


def _packed(name: str, values: Sequence[Any]) -> bytes:
    return b"".join(struct.pack(_PACKED[name], value) for value in values)
