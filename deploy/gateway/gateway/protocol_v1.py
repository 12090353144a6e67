"""The V1 protocol of TensorFlow Serving and KServe: instances in, predictions out.

https://www.tensorflow.org/tfx/serving/api_rest,
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
"""

from typing import Any

from gateway.base64_images import check_count, decode
from gateway.errors import malformed, shown
from gateway.upstream import IMAGES, SIGNATURE
from gateway.verdict import Answer

_KEYS = frozenset({"instances", "signature_name"})
_IMAGE_KEYS = ("b64", "image_bytes", IMAGES)


def images(document: dict[str, Any], *, max_images: int) -> list[bytes]:
    """The images of a request: `{"instances": [{"b64": "…"}, …]}`.

    An instance may also hold it by the name of an input, as in `{"image_bytes": {"b64": "…"}}`.

    Raises:
      RequestError: 400, where it does not follow the protocol or has too many images.
    """
    unknown = sorted(document.keys() - _KEYS)
    if unknown:
        raise malformed(f"allowed keys are {', '.join(sorted(_KEYS))}. Received: {shown(unknown)}")
    signature = document.get("signature_name", SIGNATURE)
    if signature != SIGNATURE:
        raise malformed(f"signature_name must be {SIGNATURE}. Received: {shown(signature)}")
    instances = document.get("instances")
    if not isinstance(instances, list):
        raise malformed(f"instances must be a list. Received: {shown(instances)}")
    check_count(len(instances), max_images)
    return [_image(instance, f"instances[{i}]") for i, instance in enumerate(instances)]


def _image(instance: Any, where: str) -> bytes:
    if not isinstance(instance, dict) or len(instance) != 1:
        raise malformed(f'{where} must be {{"b64": "…"}}. Received: {shown(instance)}')
    ((key, value),) = instance.items()
    if key not in _IMAGE_KEYS:
        raise malformed(
            f"{where} must hold one of {', '.join(_IMAGE_KEYS)}. Received: {shown(key)}"
        )
    return decode(value, f"{where}.{key}") if key == "b64" else _image(value, f"{where}.{key}")


def answer(found: Answer) -> dict[str, Any]:
    """The body of the answer: a prediction for each instance, in order."""
    predictions = [
        {"probability": verdict.probability, "is_positive": verdict.is_positive}
        for verdict in found.verdicts
    ]
    return {"predictions": predictions}


def status(model: str, version: int | None) -> dict[str, Any]:
    """The body of a model's status, as TensorFlow Serving and as KServe give it."""
    ok = {"error_code": "OK", "error_message": ""}
    served = [{"version": str(version), "state": "AVAILABLE", "status": ok}]
    return {
        "name": model,
        "ready": version is not None,
        "model_version_status": served if version is not None else [],
    }
