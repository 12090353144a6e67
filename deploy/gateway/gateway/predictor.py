"""Predictions for the images of a request."""

from collections.abc import Sequence

from gateway.errors import RequestError
from gateway.limits import Capacity
from gateway.metrics import Metrics
from gateway.predictions import PredictionResult
from gateway.reading import ImageReader
from gateway.served import ServedModel, ServedVersion
from gateway.upstream import ModelServer, UpstreamError


class Predictor:
    """Reads images by the rules of the served version and requests its predictions."""

    def __init__(
        self,
        served: ServedModel,
        reader: ImageReader,
        server: ModelServer,
        *,
        memory: Capacity,
        metrics: Metrics,
    ):
        """Stores its parts; requests nothing.

        Args:
          served: knows the served version and its reading rules.
          reader: reads the images.
          server: the model server.
          memory: limits the bytes of read images, of all requests together.
          metrics: records durations and errors.
        """
        self._served, self._reader, self._server = served, reader, server
        self._memory, self._metrics = memory, metrics

    async def predict(
        self, images: Sequence[bytes], version: int | None = None
    ) -> PredictionResult:
        """Returns the predictions for images, in order.

        If the version was unloaded in the meantime, the images are read again by the rules of its
        successor and sent to that, once.

        Args:
          images: encoded images.
          version: required version; None for the newest.

        Raises:
          RequestError: no model is served, an image is refused, or the model server fails.
        """
        model = self.model(version)
        try:
            return await self._predict(model, images)
        except UpstreamError as error:
            self._metrics.count_upstream_error(error)
            if error.code != "NOT_FOUND":
                raise error.as_request_error() from error
        await self._served.refresh()
        try:
            return await self._predict(self.model(version), images)
        except UpstreamError as error:
            self._metrics.count_upstream_error(error)
            raise error.as_request_error() from error

    def model(self, version: int | None = None) -> ServedVersion:
        """Returns the served version of the model.

        Args:
          version: required version; None for any.

        Raises:
          RequestError: 503, if no model is served; 404, if another version is served.
        """
        current = self._served.current
        if current is None:
            raise RequestError(503, "not_ready", "no model is served yet", retry_after=5)
        if version not in {None, current.version}:
            raise RequestError(
                404, "unknown_model", f"version must be {current.version}. Received: {version}"
            )
        return current

    async def _predict(self, model: ServedVersion, images: Sequence[bytes]) -> PredictionResult:
        with self._memory.share() as share:
            with self._metrics.time_reading():
                read = await self._reader.read(images, model.rules, share)
            with self._metrics.time_upstream():
                predictions = await self._server.predict(
                    model.version, read, has_score=model.has_score
                )
        return PredictionResult(model.version, predictions)
