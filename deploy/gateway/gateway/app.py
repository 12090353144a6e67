"""The gateway's routes, and the parts that they use."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from gateway import json_body, protocol_v1, protocol_v2
from gateway.body import BodyReader
from gateway.errors import RequestError, shown
from gateway.guard import Guard
from gateway.limits import Capacity, TokenBuckets, Tokens
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.predictor import Predictor
from gateway.reading import ImageReader
from gateway.served import ServedModel
from gateway.settings import Settings
from gateway.upstream import ModelServer
from gateway.verdict import Answer

_VERSION_HEADER = "X-Model-Version"
_HEADER_LENGTH = "Inference-Header-Content-Length"

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


class Gateway:
    """The routes, each a method, and what they share; made within the event loop."""

    def __init__(self, settings: Settings, metrics: Metrics):
        self._settings, self._metrics = settings, metrics
        self._reader = ImageReader(settings.decoders)
        self._server = ModelServer(
            settings.upstream, settings.model_name, settings.upstream_timeout
        )
        self._served = ServedModel(self._server, settings.registry, metrics.version)
        self._bodies = BodyReader(settings)
        self._in_flight = Capacity(settings.max_in_flight, "requests are in progress")
        self._predictor = Predictor(
            self._served,
            self._reader,
            self._server,
            held=Capacity(settings.max_bytes_in_flight, "bytes of images are held"),
            metrics=metrics,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follows which model is served, as long as it is open."""
        follower = asyncio.create_task(self._served.follow(self._settings.poll_seconds))
        try:
            yield
        finally:
            follower.cancel()
            self._reader.close()
            await self._server.close()

    async def v1_predict(self, request: Request) -> Response:
        """Verdicts, by the V1 protocol."""
        self._check_model(request)
        settings = self._settings

        def images(body: bytearray) -> list[bytes]:
            return protocol_v1.images(self._document(body), max_images=settings.max_images)

        found = await self._judge(request, images)
        return JSONResponse(protocol_v1.answer(found), headers=_version_of(found))

    async def v2_infer(self, request: Request) -> Response:
        """Verdicts, by the V2 protocol."""
        self._check_model(request)
        settings = self._settings
        shape: dict[str, Any] = {}

        def images(body: bytearray) -> list[bytes]:
            head, binary = protocol_v2.split(bytes(body), request.headers.get(_HEADER_LENGTH))
            document = self._document(head)
            shape.update(
                asked=protocol_v2.outputs(document), identifier=protocol_v2.request_id(document)
            )
            return protocol_v2.images(document, binary, max_images=settings.max_images)

        found = await self._judge(request, images)
        body, length = protocol_v2.answer(found, model=settings.model_name, **shape)
        headers = _version_of(found)
        if length is None:
            return Response(body, headers=headers, media_type="application/json")
        headers[_HEADER_LENGTH] = str(length)
        return Response(body, headers=headers, media_type="application/octet-stream")

    async def predict(self, request: Request) -> Response:
        """The verdict on one image, which is the body."""
        found = await self._judge(request, lambda body: [bytes(body)])
        (verdict,) = found.verdicts
        body = {**vars(verdict), "model_version": str(found.version)}
        return JSONResponse(body, headers=_version_of(found))

    async def v1_models(self, request: Request) -> Response:
        """The names of the models, of which there is one."""
        return JSONResponse({"models": [self._settings.model_name]})

    async def v1_status(self, request: Request) -> Response:
        """Which version is served."""
        version = self._check_model(request)
        if version is not None:
            self._predictor.model(version)
        current = self._served.current
        found = current.version if current else None
        return JSONResponse(protocol_v1.status(self._settings.model_name, found))

    async def v2_server(self, request: Request) -> Response:
        """The server's name and the extensions of the protocol that it has."""
        return JSONResponse(protocol_v2.SERVER)

    async def v2_model(self, request: Request) -> Response:
        """The inputs and outputs of the model."""
        model = self._predictor.model(self._check_model(request))
        return JSONResponse(protocol_v2.metadata(self._settings.model_name, model.version))

    async def v2_model_ready(self, request: Request) -> Response:
        """Whether the model can be asked."""
        self._predictor.model(self._check_model(request))
        return self._readiness({"name": self._settings.model_name})

    async def v2_ready(self, request: Request) -> Response:
        """Readiness: whether verdicts can be given."""
        return self._readiness({})

    async def v2_live(self, request: Request) -> Response:
        """Liveness: the event loop runs."""
        return JSONResponse({"live": True})

    async def health(self, request: Request) -> Response:
        """Liveness: the event loop runs."""
        return PlainTextResponse("ok")

    async def ready(self, request: Request) -> Response:
        """Readiness: whether verdicts can be given, and if not, why."""
        fault = self._served.fault
        return PlainTextResponse(fault or "ok", 503 if fault else 200)

    async def metrics(self, request: Request) -> Response:
        """The metrics, in Prometheus' text format."""
        return Response(self._metrics.text(), headers={"content-type": CONTENT_TYPE})

    def routes(self) -> list[Route]:
        """All routes."""
        model = "/models/{model}"
        version = "/models/{model}/versions/{version}"
        get: list[tuple[str, Endpoint]] = [
            ("/healthz", self.health),
            ("/readyz", self.ready),
            ("/metrics", self.metrics),
            ("/v1/models", self.v1_models),
            (f"/v1{model}", self.v1_status),
            (f"/v1{version}", self.v1_status),
            ("/v2", self.v2_server),
            ("/v2/health/live", self.v2_live),
            ("/v2/health/ready", self.v2_ready),
            (f"/v2{model}", self.v2_model),
            (f"/v2{version}", self.v2_model),
            (f"/v2{model}/ready", self.v2_model_ready),
            (f"/v2{version}/ready", self.v2_model_ready),
        ]
        post: list[tuple[str, Endpoint]] = [
            ("/predict", self.predict),
            (f"/v1{model}:predict", self.v1_predict),
            (f"/v1{version}:predict", self.v1_predict),
            (f"/v2{model}/infer", self.v2_infer),
            (f"/v2{version}/infer", self.v2_infer),
        ]
        return [Route(path, endpoint, methods=["POST"]) for path, endpoint in post] + [
            Route(path, endpoint, methods=["GET"]) for path, endpoint in get
        ]

    async def _judge(
        self, request: Request, images_of: Callable[[bytearray], list[bytes]]
    ) -> Answer:
        version = self._check_model(request)
        self._predictor.model(version)  # before the body is read
        record = request.scope["record"]
        with self._metrics.in_flight.track_inprogress():
            async with self._bodies.body(request) as body:
                with self._in_flight.share(1):
                    images = await self._reader.run(images_of, body)
                    record.images = len(images)
                    found = await self._predictor.predict(images, version)
        record.version = found.version
        self._metrics.judged(found)
        return found

    def _document(self, body: bytes | bytearray) -> dict[str, Any]:
        settings = self._settings
        return json_body.parse(
            body, max_depth=settings.max_json_depth, max_tokens=settings.max_json_tokens
        )

    def _check_model(self, request: Request) -> int | None:
        """The version that the path names, None where it names none; 404 for another model."""
        name = request.path_params.get("model", self._settings.model_name)
        if name != self._settings.model_name:
            raise RequestError(
                404,
                "unknown_model",
                f"the model must be {self._settings.model_name}. Received: {shown(name)}",
            )
        version = request.path_params.get("version")
        if version is None:
            return None
        if not version.isascii() or not version.isdigit() or len(version) > 18:
            raise RequestError(
                404, "unknown_model", f"a version must be a number. Received: {shown(version)}"
            )
        return int(version)

    def _readiness(self, body: dict[str, Any]) -> Response:
        fault = self._served.fault
        return JSONResponse({**body, "ready": not fault}, 503 if fault else 200)


def _version_of(found: Answer) -> dict[str, str]:
    return {_VERSION_HEADER: str(found.version)}


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own errors, such as 404 and 405, for the guard to answer in our form."""
    if not isinstance(error, HTTPException):
        raise error
    reason = {404: "unknown_path", 405: "method"}.get(error.status_code, "malformed")
    received = f"{request.method[:10]} {shown(request.scope['path'])}"
    raise RequestError(error.status_code, reason, f"{error.detail}. Received: {received}")


def create_app(settings: Settings) -> Starlette:
    """The gateway as an ASGI application.

    Raises:
      SettingsError: the tokens cannot be read.
    """
    metrics = Metrics()
    tokens = Tokens(settings.tokens())
    gateway = Gateway(settings, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with gateway.running():
            yield

    guard = Middleware(
        Guard,
        tokens=tokens,
        buckets=TokenBuckets(settings.rate, settings.burst),
        metrics=metrics,
        timeout=settings.request_timeout,
    )
    app = Starlette(
        routes=gateway.routes(),
        middleware=[guard],
        exception_handlers={HTTPException: _http_error},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # to whatever host a request names
    return app
