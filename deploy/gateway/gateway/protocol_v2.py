"""The V2 protocol, also called Open Inference, with its extension for binary tensors.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md,
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import json
import struct
from collections.abc import Sequence
from typing import Any

from gateway.base64_images import check_count, decode
from gateway.errors import malformed, shown
from gateway.upstream import IMAGES, IS_POSITIVE, PROBABILITY
from gateway.verdict import Answer

_DATATYPES = {PROBABILITY: "FP32", IS_POSITIVE: "BOOL"}
_PACKED = {PROBABILITY: "<f", IS_POSITIVE: "<?"}

SERVER = {
    "name": "outnumbered-gateway",
    "version": "2",
    "extensions": ["binary_tensor_data"],
}


def metadata(model: str, version: int) -> dict[str, Any]:
    """The body of a model's metadata."""
    outputs = [
        {"name": name, "datatype": datatype, "shape": [-1]} for name, datatype in _DATATYPES.items()
    ]
    return {
        "name": model,
        "versions": [str(version)],
        "platform": "tensorflow_savedmodel",
        "inputs": [{"name": IMAGES, "datatype": "BYTES", "shape": [-1]}],
        "outputs": outputs,
    }


def split(body: bytes, header_length: str | None) -> tuple[bytes, bytes]:
    """The JSON of a body, and the binary tensors that follow it.

    Args:
      body: the whole of it.
      header_length: the header `Inference-Header-Content-Length`; None where there is none.

    Raises:
      RequestError: 400, where the header is not a length within the body.
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
        f"Received: {shown(received)}"
    )


def images(document: dict[str, Any], binary: bytes, *, max_images: int) -> list[bytes]:
    """The images of a request: one input `images` of BYTES, base64 in JSON or binary after it.

    Raises:
      RequestError: 400, where it does not follow the protocol or has too many images.
    """
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise malformed(f"inputs must be a list of one tensor. Received: {shown(inputs)}")
    (tensor,) = inputs
    _check_is(tensor, "name", IMAGES)
    _check_is(tensor, "datatype", "BYTES")
    count = _count(tensor.get("shape"))
    check_count(count, max_images)
    found = _elements(tensor, binary, count)
    if len(found) != count:
        raise malformed(f"inputs[0] must hold {count} images by its shape. Received: {len(found)}")
    return found


def _check_is(tensor: dict[str, Any], key: str, value: str) -> None:
    if tensor.get(key) != value:
        raise malformed(f"inputs[0].{key} must be {value}. Received: {shown(tensor.get(key))}")


def _count(shape: Any) -> int:
    sizes = shape if isinstance(shape, list) else []
    whole = all(isinstance(size, int) and not isinstance(size, bool) for size in sizes)
    if not whole or not (len(sizes) == 1 or (len(sizes) == 2 and sizes[1] == 1)) or sizes[0] < 0:
        raise malformed(f"inputs[0].shape must be [n] or [n, 1]. Received: {shown(shape)}")
    return sizes[0]


def _elements(tensor: dict[str, Any], binary: bytes, count: int) -> list[bytes]:
    size = _parameters(tensor).get("binary_data_size")
    if size is None:
        if binary:
            raise malformed(
                "inputs[0].parameters.binary_data_size is required where binary data follows the "
                "JSON"
            )
        data = tensor.get("data")
        if not isinstance(data, list):
            raise malformed(f"inputs[0].data must be a list. Received: {shown(data)}")
        return [decode(text, f"inputs[0].data[{i}]") for i, text in enumerate(data)]
    if size != len(binary) or "data" in tensor:
        raise malformed(
            f"inputs[0].parameters.binary_data_size must be the {len(binary)} bytes that follow "
            f"the JSON, without data beside it. Received: {shown(size)}"
        )
    return _unpacked(binary, count)


def _unpacked(binary: bytes, count: int) -> list[bytes]:
    """Elements of a BYTES tensor: before each its length in four bytes, little-endian."""
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
        raise malformed(f"parameters must be an object. Received: {shown(parameters)}")
    return parameters


def outputs(document: dict[str, Any]) -> dict[str, bool]:
    """The outputs that a request asks for, all where it names none, and whether in binary.

    Raises:
      RequestError: 400, where it asks for an output that does not exist.
    """
    all_binary = _parameters(document).get("binary_data_output") is True
    asked = document.get("outputs", [])
    if not isinstance(asked, list):
        raise malformed(f"outputs must be a list. Received: {shown(asked)}")
    found = {}
    for output in asked:
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str) or name not in _DATATYPES:
            raise malformed(
                f"an output must be one of {', '.join(_DATATYPES)}. Received: {shown(output)}"
            )
        found[name] = _parameters(output).get("binary_data", all_binary) is True
    return found or dict.fromkeys(_DATATYPES, all_binary)


def request_id(document: dict[str, Any]) -> str | None:
    """The id that the answer repeats.

    Raises:
      RequestError: 400, where it is no string.
    """
    found = document.get("id")
    if found is not None and not isinstance(found, str):
        raise malformed(f"id must be a string. Received: {shown(found)}")
    return found


def answer(
    found: Answer, *, model: str, asked: dict[str, bool], identifier: str | None
) -> tuple[bytes, int | None]:
    """The body of the answer, and the length of its JSON where binary tensors follow that."""
    tensors, tail = [], b""
    for name, binary in asked.items():
        values = [getattr(verdict, name) for verdict in found.verdicts]
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
    document: dict[str, Any] = {"model_name": model, "model_version": str(found.version)}
    if identifier is not None:
        document["id"] = identifier
    header = json.dumps({**document, "outputs": tensors}).encode()
    return header + tail, len(header) if any(asked.values()) else None


def _packed(name: str, values: Sequence[Any]) -> bytes:
    return b"".join(struct.pack(_PACKED[name], value) for value in values)
