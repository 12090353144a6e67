"""Prometheus metrics: latency, requests, verdicts, scores and refusals."""

import logging
from contextlib import AbstractContextManager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from gateway.errors import RequestError
from gateway.upstream import UpstreamError
from gateway.verdict import Answer

CONTENT_TYPE = CONTENT_TYPE_LATEST

_log = logging.getLogger("gateway")

_PREFIX = "outnumbered_gateway"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_SCORES = tuple(edge / 20 for edge in range(1, 21))


class Metrics:
    """The gateway's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{_PREFIX}_{name}", text, labels, registry=registry)

        def seconds(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(
                f"{_PREFIX}_{name}_seconds", text, labels, registry=registry, buckets=_SECONDS
            )

        self._requests = counter("requests", "Requests for verdicts", "route", "status")
        self._latency = seconds("request", "Time from a request's head to its answer", "route")
        self._reading = seconds("read", "Time to read the images of a request")
        self._upstream = seconds("upstream", "Time that the model server took")
        self._errors = counter("upstream_errors", "Failures of the model server", "code")
        self._verdicts = counter("verdicts", "Images by the model's verdict", "verdict")
        self._refused = counter("refused_requests", "Requests refused", "reason")
        self._images = counter("refused_images", "Images refused by the reader", "reason")
        self._scores = Histogram(
            f"{_PREFIX}_score",
            "Probability of the positive class",
            registry=registry,
            buckets=_SCORES,
        )
        self.in_flight = Gauge(
            f"{_PREFIX}_in_flight", "Requests for verdicts without an answer yet", registry=registry
        )
        self._version = Gauge(
            f"{_PREFIX}_model_version", "Version that is served; 0 for none", registry=registry
        )
        for verdict in ("positive", "negative"):
            self._verdicts.labels(verdict)

    def reading(self) -> AbstractContextManager[object]:
        """Times the reading of a request's images."""
        return self._reading.time()

    def upstream(self) -> AbstractContextManager[object]:
        """Times the model server."""
        return self._upstream.time()

    def upstream_error(self, error: UpstreamError) -> None:
        """Counts and logs a failure of the model server."""
        self._errors.labels(error.code).inc()
        _log.warning("model server: %s: %.300r", error.code, error.detail)

    def version(self, version: int | None) -> None:
        """Sets the version that is served."""
        self._version.set(version or 0)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Counts a request for verdicts."""
        self._requests.labels(route, str(status)).inc()
        self._latency.labels(route).observe(seconds)

    def judged(self, answer: Answer) -> None:
        """Counts verdicts and their probabilities."""
        for verdict in answer.verdicts:
            self._verdicts.labels("positive" if verdict.is_positive else "negative").inc()
            self._scores.observe(verdict.probability)

    def refused(self, error: RequestError) -> None:
        """Counts a request that got an error, and each image that was refused."""
        self._refused.labels(error.reason).inc()
        for image in error.refused:
            self._images.labels(image["reason"]).inc()

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)
