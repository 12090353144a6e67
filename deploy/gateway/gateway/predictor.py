"""From the images of a request to the model's verdicts on them."""

from collections.abc import Sequence

from gateway.errors import RequestError
from gateway.limits import Capacity
from gateway.metrics import Metrics
from gateway.reading import ImageReader
from gateway.served import Served, ServedModel
from gateway.upstream import ModelServer, UpstreamError
from gateway.verdict import Answer


class Predictor:
    """Reads images by the served model's own rules and asks that very version for verdicts."""

    def __init__(
        self,
        served: ServedModel,
        reader: ImageReader,
        server: ModelServer,
        *,
        held: Capacity,
        metrics: Metrics,
    ):
        """Asks nothing yet.

        Args:
          served: which model is asked.
          reader: reads its images.
          server: has it.
          held: the bytes of images, once read, that all requests may hold.
          metrics: are told what happens.
        """
        self._served, self._reader, self._server = served, reader, server
        self._held, self._metrics = held, metrics

    async def predict(self, images: Sequence[bytes], version: int | None = None) -> Answer:
        """The verdicts on images, in order, of the version that is asked for, or the newest.

        If the version was unloaded meanwhile, its successor is asked, once, and the images are
        read again by that one's rules.

        Raises:
          RequestError: no model is served, an image is refused, or the model server fails.
        """
        model = self.model(version)
        try:
            return await self._ask(model, images)
        except UpstreamError as error:
            self._metrics.upstream_error(error)
            if error.code != "NOT_FOUND":
                raise error.as_request_error() from error
        await self._served.refresh()
        try:
            return await self._ask(self.model(version), images)
        except UpstreamError as error:
            self._metrics.upstream_error(error)
            raise error.as_request_error() from error

    def model(self, version: int | None = None) -> Served:
        """The model that is served.

        Args:
          version: that it must be; None for whichever it is.

        Raises:
          RequestError: 503, where none is served; 404, where it is of another version.
        """
        current = self._served.current
        if current is None:
            raise RequestError(503, "not_ready", "no model is served yet", retry_after=5)
        if version not in {None, current.version}:
            raise RequestError(
                404, "unknown_model", f"version {current.version} is served. Received: {version}"
            )
        return current

    async def _ask(self, model: Served, images: Sequence[bytes]) -> Answer:
        with self._held.share() as share:
            with self._metrics.reading():
                read = await self._reader.read(images, model.rules, share)
            with self._metrics.upstream():
                return Answer(model.version, await self._server.verdicts(model.version, read))
