"""Prometheus metrics: latency, requests, predictions, scores, refusals and versions."""

import logging
from contextlib import AbstractContextManager
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from gateway.errors import RequestError
from gateway.predictions import PredictionResult
from gateway.upstream import UpstreamError

CONTENT_TYPE = CONTENT_TYPE_LATEST

_log = logging.getLogger("gateway")


class FaultReason(StrEnum):
    """Why the version to which the registry points is not served."""

    UNREACHABLE = "unreachable"
    """The registry can't be read, or the version can't be copied."""
    REFUSED = "refused"
    """The version is damaged or not signed by the right key, or `registry.json` is damaged."""
    RULES = "rules"
    """The version has no reading rules that the gateway supports."""
    LOAD = "load"
    """The model server can't load the version."""
    OTHER = "other"
    """An error in the gateway."""


_PREFIX = "outnumbered_gateway"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_SCORES = tuple(edge / 20 for edge in range(1, 21))


class Metrics:
    """The gateway's metrics in their own registry."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{_PREFIX}_{name}", text, labels, registry=registry)

        def seconds(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(
                f"{_PREFIX}_{name}_seconds", text, labels, registry=registry, buckets=_SECONDS
            )

        self._requests = counter("requests", "Prediction requests", "route", "status")
        self._latency = seconds("request", "Time from request headers to response", "route")
        self._reading = seconds("read", "Time to read the images of a request")
        self._upstream = seconds("upstream", "Response time of the model server")
        self._errors = counter("upstream_errors", "Errors of the model server", "code")
        self._predictions = counter("verdicts", "Predictions by predicted class", "verdict")
        self._refused = counter("refused_requests", "Refused requests", "reason")
        self._images = counter("refused_images", "Images refused by the reader", "reason")
        self._scores = Histogram(
            f"{_PREFIX}_score",
            "Probability of the positive class",
            registry=registry,
            buckets=_SCORES,
        )
        self.in_flight = Gauge(
            f"{_PREFIX}_in_flight", "Prediction requests in progress", registry=registry
        )
        self._version = Gauge(
            f"{_PREFIX}_model_version", "Served version of the model; 0 if none", registry=registry
        )
        self._pointer = Gauge(
            f"{_PREFIX}_registry_version",
            "Version that the registry says is to be served; 0 if none, or if it was never read",
            registry=registry,
        )
        self._fault = Gauge(
            f"{_PREFIX}_registry_fault",
            "1 while the version that the registry says is to be served can't be, by reason",
            ["reason"],
            registry=registry,
        )
        for predicted in ("positive", "negative"):
            self._predictions.labels(predicted)
        self.set_registry_fault(None)

    def time_reading(self) -> AbstractContextManager[object]:
        """Measures how long reading the images of a request takes."""
        return self._reading.time()

    def time_upstream(self) -> AbstractContextManager[object]:
        """Measures the response time of the model server."""
        return self._upstream.time()

    def count_upstream_error(self, error: UpstreamError) -> None:
        """Counts and logs an error of the model server."""
        self._errors.labels(error.code).inc()
        _log.warning("model server: %s: %.300r", error.code, error.detail)

    def set_version(self, version: int | None) -> None:
        """Sets the served version; None if no model is served."""
        self._version.set(version or 0)

    def set_registry_version(self, version: int | None) -> None:
        """Sets the version to which the registry points; None if it has no version."""
        self._pointer.set(version or 0)

    def set_registry_fault(self, reason: FaultReason | None) -> None:
        """Sets why the version to which the registry points is not served; None if it is."""
        for each in FaultReason:
            self._fault.labels(each.value).set(each == reason)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Counts a prediction request and its duration."""
        self._requests.labels(route, str(status)).inc()
        self._latency.labels(route).observe(seconds)

    def count_predictions(self, result: PredictionResult) -> None:
        """Counts predictions and their probabilities."""
        for prediction in result.predictions:
            predicted = "positive" if prediction.is_positive else "negative"
            self._predictions.labels(predicted).inc()
            self._scores.observe(prediction.probability)

    def count_refusal(self, error: RequestError) -> None:
        """Counts a request that ended in an error, and each of its refused images."""
        self._refused.labels(error.reason).inc()
        for image in error.refused:
            self._images.labels(image["reason"]).inc()

    def text(self) -> bytes:
        """Returns the metrics in Prometheus' text format."""
        return generate_latest(self._registry)
