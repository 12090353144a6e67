"""Stand-in for TensorFlow Serving: its gRPC services by the stubs of `tensorflow-serving-api`."""

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

MODEL = "outnumbered"
_AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE


def predict_by_bytes(images):
    """Returns probabilities and predicted classes that depend on the images' bytes."""
    scores = [probability_of(image) for image in images]
    return [[score] for score in scores], [[int(score >= 0.5)] for score in scores]


def probability_of(image):
    """Returns the stand-in's probability for an image, different for different bytes."""
    return int.from_bytes(hashlib.sha256(image).digest()[:3], "big") / 2**24


class StandIn(
    prediction_service_pb2_grpc.PredictionServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
):
    """A model server.

    Attributes:
      versions: state of each version, by its number.
      failed: versions in the state END because of an error.
      seen: requested version and images of each prediction call.
      status_calls: number of status calls.
      delay: seconds before a prediction response.
      failure: gRPC status that every prediction call fails with.
      model: function of images to their probabilities and predicted classes, each of shape (n, 1).
      as_content: whether values are sent as bytes in `tensor_content`.
      listen_at: address, or `unix:` and a path; port 0 is replaced by the assigned port.
    """

    def __init__(self, port=0):
        self.versions = {1: _AVAILABLE}
        self.failed = set()
        self.seen = []
        self.status_calls = 0
        self.delay = 0.0
        self.failure = None
        self.as_content = False
        self.model = predict_by_bytes
        self.listen_at = f"127.0.0.1:{port}"
        self._server = None
        self._lock = threading.Lock()

    @property
    def target(self):
        return self.listen_at

    def start(self):
        """Starts to listen; after a stop, on the same port."""
        options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
        self._server = grpc.server(ThreadPoolExecutor(16), options=options)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self, self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(self.listen_at)
        if self.listen_at.startswith("127.0.0.1:"):
            self.listen_at = f"127.0.0.1:{port}"
        self._server.start()

    def stop(self):
        self._server.stop(grace=None).wait()

    def GetModelStatus(self, request, context):
        self._check_spec(request.model_spec, context)
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, state in self.versions.items():
            status = {"error_code": "UNKNOWN", "error_message": "secret"}
            response.model_version_status.add(
                version=version, state=state, status=status if version in self.failed else None
            )
        self.status_calls += 1
        return response

    def Predict(self, request, context):
        self._check_spec(request.model_spec, context)
        version = request.model_spec.version.value
        if self.failure:
            context.abort(self.failure, "Traceback: node 'secret/inner/layer' failed")
        if self.versions.get(version) != _AVAILABLE:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found: {version}")
        if request.model_spec.signature_name != "predict_images" or list(request.inputs) != [
            "images"
        ]:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such signature or input")
        images = tf.make_ndarray(request.inputs["images"])
        if images.dtype != object or images.ndim != 1:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "images must be DT_STRING of rank 1")
        time.sleep(self.delay)
        with self._lock:
            self.seen.append((version, images.tolist()))
        return self._response(request, *self.model(images.tolist()))

    def _check_spec(self, spec, context):
        if spec.name != MODEL:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model {spec.name}")

    def _response(self, request, probabilities, positive, scores=None, review=None):
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        for name, values, dtype in (
            ("probability", probabilities, tf.float32),
            ("is_positive", positive, tf.int64),
            *([("score", scores, tf.float32)] if scores is not None else []),
            *([("needs_review", review, tf.int64)] if review is not None else []),
        ):
            tensor = tf.make_tensor_proto(values, dtype=dtype)
            if self.as_content:
                array = tf.make_ndarray(tensor)
                tensor = tf.make_tensor_proto(array)
                tensor.ClearField("float_val")
                tensor.ClearField("int64_val")
                tensor.tensor_content = array.tobytes()
            response.outputs[name].CopyFrom(tensor)
        return response
