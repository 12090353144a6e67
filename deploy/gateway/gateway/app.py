"""Routes of the gateway, and the ASGI application."""

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

from components.registry import open_registry
from gateway import json_body, protocol_v1, protocol_v2
from gateway.body import BodyReader
from gateway.errors import RequestError, shortened
from gateway.guard import Guard
from gateway.limits import Capacity, TokenBuckets, Tokens
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.pointer import ServingPointer
from gateway.predictions import PredictionResult
from gateway.predictor import Predictor
from gateway.reading import ImageReader
from gateway.served import ServedModel
from gateway.settings import Settings
from gateway.upstream import ModelServer

_VERSION_HEADER = "X-Model-Version"
_HEADER_LENGTH = "Inference-Header-Content-Length"

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


class Gateway:
    """Handlers of the routes and the objects that they share. Create it in the event loop."""

    def __init__(self, settings: Settings, metrics: Metrics):
        self._settings, self._metrics = settings, metrics
        self._reader = ImageReader(settings.decoders)
        self._server = ModelServer(
            settings.upstream, settings.model_name, settings.upstream_timeout
        )
        self._pointer = _pointer(settings, self._server, metrics)
        self._served = ServedModel(
            self._server, settings.versions_folder, metrics.set_version, self._pointer
        )
        self._bodies = BodyReader(settings)
        self._in_flight = Capacity(settings.max_in_flight, "requests in progress")
        self._predictor = Predictor(
            self._served,
            self._reader,
            self._server,
            memory=Capacity(settings.max_bytes_in_flight, "bytes of images in memory"),
            metrics=metrics,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keeps the served version up to date while the context is open."""
        settings = self._settings
        followers = [asyncio.create_task(self._served.follow(settings.poll_seconds))]
        if self._pointer:
            followed = self._pointer.follow(settings.registry_poll_seconds)
            followers.append(asyncio.create_task(followed))
        try:
            yield
        finally:
            for follower in followers:
                follower.cancel()
            self._reader.close()
            await self._server.close()

    async def v1_predict(self, request: Request) -> Response:
        """Predicts by the V1 protocol."""
        self._check_model(request)
        settings = self._settings

        def images(body: bytearray) -> list[bytes]:
            return protocol_v1.images(self._document(body), max_images=settings.max_images)

        result = await self._predict(request, images)
        return JSONResponse(protocol_v1.response_body(result), headers=_version_header(result))

    async def v2_infer(self, request: Request) -> Response:
        """Predicts by the V2 protocol."""
        has_score = self._predictor.model(self._check_model(request)).has_score
        settings = self._settings
        form: dict[str, Any] = {}

        def images(body: bytearray) -> list[bytes]:
            head, binary = protocol_v2.split(bytes(body), request.headers.get(_HEADER_LENGTH))
            document = self._document(head)
            form.update(
                outputs=protocol_v2.requested_outputs(document, has_score=has_score),
                identifier=protocol_v2.request_id(document),
            )
            return protocol_v2.images(document, binary, max_images=settings.max_images)

        result = await self._predict(request, images)
        body, length = protocol_v2.response_body(result, model=settings.model_name, **form)
        headers = _version_header(result)
        if length is None:
            return Response(body, headers=headers, media_type="application/json")
        headers[_HEADER_LENGTH] = str(length)
        return Response(body, headers=headers, media_type="application/octet-stream")

    async def predict(self, request: Request) -> Response:
        """Predicts for one image, which is the whole body."""
        result = await self._predict(request, lambda body: [bytes(body)])
        (prediction,) = result.predictions
        body = {**prediction.outputs(), "model_version": str(result.version)}
        return JSONResponse(body, headers=_version_header(result))

    async def v1_models(self, request: Request) -> Response:
        """Lists the names of the models; there is exactly one."""
        return JSONResponse({"models": [self._settings.model_name]})

    async def v1_status(self, request: Request) -> Response:
        """Returns the status of the served version."""
        version = self._check_model(request)
        if version is not None:
            self._predictor.model(version)
        current = self._served.current
        served = current.version if current else None
        return JSONResponse(protocol_v1.status(self._settings.model_name, served))

    async def v2_server(self, request: Request) -> Response:
        """Returns the name of the server and the protocol extensions that it supports."""
        return JSONResponse(protocol_v2.SERVER)

    async def v2_model(self, request: Request) -> Response:
        """Returns the inputs and outputs of the model."""
        model = self._predictor.model(self._check_model(request))
        body = protocol_v2.metadata(
            self._settings.model_name, model.version, has_score=model.has_score
        )
        return JSONResponse(body)

    async def v2_model_ready(self, request: Request) -> Response:
        """Readiness of the model."""
        self._predictor.model(self._check_model(request))
        return self._readiness({"name": self._settings.model_name})

    async def v2_ready(self, request: Request) -> Response:
        """Readiness: whether the gateway can serve predictions."""
        return self._readiness({})

    async def v2_live(self, request: Request) -> Response:
        """Liveness: the event loop runs."""
        return JSONResponse({"live": True})

    async def health(self, request: Request) -> Response:
        """Liveness: the event loop runs."""
        return PlainTextResponse("ok")

    async def ready(self, request: Request) -> Response:
        """Readiness: whether the gateway can serve predictions, and if not, the reason."""
        fault = self._served.fault
        return PlainTextResponse(fault or "ok", 503 if fault else 200)

    async def metrics(self, request: Request) -> Response:
        """Returns the metrics in Prometheus' text format."""
        return Response(self._metrics.text(), headers={"content-type": CONTENT_TYPE})

    def routes(self) -> list[Route]:
        """Returns all routes."""
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

    async def _predict(
        self, request: Request, read_images: Callable[[bytearray], list[bytes]]
    ) -> PredictionResult:
        version = self._check_model(request)
        self._predictor.model(version)  # fails before the body is read
        record = request.scope["record"]
        with self._metrics.in_flight.track_inprogress():
            async with self._bodies.body(request) as body:
                with self._in_flight.share(1):
                    images = await self._reader.run(read_images, body)
                    record.images = len(images)
                    result = await self._predictor.predict(images, version)
        record.version = result.version
        self._metrics.count_predictions(result)
        return result

    def _document(self, body: bytes | bytearray) -> dict[str, Any]:
        settings = self._settings
        return json_body.parse(
            body, max_depth=settings.max_json_depth, max_tokens=settings.max_json_tokens
        )

    def _check_model(self, request: Request) -> int | None:
        """Returns the version in the path, or None; raises 404 for another model."""
        name = request.path_params.get("model", self._settings.model_name)
        if name != self._settings.model_name:
            raise RequestError(
                404,
                "unknown_model",
                f"the model must be {self._settings.model_name}. Received: {shortened(name)}",
            )
        version = request.path_params.get("version")
        if version is None:
            return None
        if not version.isascii() or not version.isdigit() or len(version) > 18:
            raise RequestError(
                404, "unknown_model", f"version must be a number. Received: {shortened(version)}"
            )
        return int(version)

    def _readiness(self, body: dict[str, Any]) -> Response:
        fault = self._served.fault
        return JSONResponse({**body, "ready": not fault}, 503 if fault else 200)


def _pointer(settings: Settings, server: ModelServer, metrics: Metrics) -> ServingPointer | None:
    """Returns what writes the model server's config; None if the settings name no config."""
    if settings.model_config is None:
        return None
    registry = open_registry(settings.registry)
    return ServingPointer(registry, server, settings, settings.model_config, metrics)


def _version_header(result: PredictionResult) -> dict[str, str]:
    return {_VERSION_HEADER: str(result.version)}


async def _http_error(request: Request, error: Exception) -> Response:
    """Converts Starlette's own errors, such as 404 and 405, so that the guard answers in JSON."""
    if not isinstance(error, HTTPException):
        raise error
    reason = {404: "unknown_path", 405: "method"}.get(error.status_code, "malformed")
    received = f"{request.method[:10]} {shortened(request.scope['path'])}"
    raise RequestError(error.status_code, reason, f"{error.detail}. Received: {received}")


def create_app(settings: Settings) -> Starlette:
    """Creates the gateway as an ASGI application.

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
    app.router.redirect_slashes = False  # a redirect would go to the host that the request names
    return app
