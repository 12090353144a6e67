"""The V1 protocol of TensorFlow Serving and KServe: instances in, predictions out.

https://www.tensorflow.org/tfx/serving/api_rest,
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
"""

from typing import Any

from gateway.base64_images import check_count, decode
from gateway.errors import malformed, shortened
from gateway.predictions import PredictionResult
from gateway.upstream import IMAGES, SIGNATURE

_KEYS = frozenset({"instances", "signature_name"})
_IMAGE_KEYS = ("b64", "image_bytes", IMAGES)


def images(document: dict[str, Any], *, max_images: int) -> list[bytes]:
    """Returns the images of a request: `{"instances": [{"b64": "…"}, …]}`.

    An instance may also name the input, as in `{"image_bytes": {"b64": "…"}}`.

    Raises:
      RequestError: 400, if it does not follow the protocol or has too many images.
    """
    unknown = sorted(document.keys() - _KEYS)
    if unknown:
        raise malformed(
            f"keys must be among {', '.join(sorted(_KEYS))}. Received: {shortened(unknown)}"
        )
    signature = document.get("signature_name", SIGNATURE)
    if signature != SIGNATURE:
        raise malformed(f"signature_name must be {SIGNATURE}. Received: {shortened(signature)}")
    instances = document.get("instances")
    if not isinstance(instances, list):
        raise malformed(f"instances must be a list. Received: {shortened(instances)}")
    check_count(len(instances), max_images)
    return [_image(instance, f"instances[{i}]") for i, instance in enumerate(instances)]


def _image(instance: Any, field: str) -> bytes:
    if not isinstance(instance, dict) or len(instance) != 1:
        raise malformed(f'{field} must be {{"b64": "…"}}. Received: {shortened(instance)}')
    ((key, value),) = instance.items()
    if key not in _IMAGE_KEYS:
        raise malformed(
            f"the key of {field} must be one of {', '.join(_IMAGE_KEYS)}. "
            f"Received: {shortened(key)}"
        )
    return decode(value, f"{field}.{key}") if key == "b64" else _image(value, f"{field}.{key}")


def response_body(result: PredictionResult) -> dict[str, Any]:
    """Returns the body of the response: one prediction per instance, in order."""
    return {"predictions": [prediction.outputs() for prediction in result.predictions]}


def status(model: str, version: int | None) -> dict[str, Any]:
    """Returns the status of a model with the fields of TensorFlow Serving and of KServe."""
    ok = {"error_code": "OK", "error_message": ""}
    served = [{"version": str(version), "state": "AVAILABLE", "status": ok}]
    return {
        "name": model,
        "ready": version is not None,
        "model_version_status": served if version is not None else [],
    }
