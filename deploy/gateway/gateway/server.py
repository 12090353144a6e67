"""Runs the gateway on uvicorn, with a deadline for request headers."""

import logging
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.app import create_app
from gateway.settings import Settings

_MAX_HEADER_BYTES = 16 * 2**10
SHUTDOWN_SECONDS = 10
"""Seconds for requests in progress after the process receives the signal to stop."""


class DeadlineProtocol(H11Protocol):
    """Closes a connection that does not send all headers of its next request in time.

    uvicorn's own `timeout_keep_alive` starts with the first response and ends with the first byte
    of the next request: a client that sends nothing, or a byte from time to time, could keep a
    connection open forever. Here it starts with the connection and ends when all headers have
    arrived. Until then, data after an early response, such as the rest of a body that is too
    long, is discarded.
    """

    def connection_made(self, transport: Any) -> None:
        """Starts the deadline of the first request."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def data_received(self, data: bytes) -> None:
        """Receives bytes; the base class stops the deadline when all headers have arrived."""
        self.conn.receive_data(data)
        self.handle_events()


def server(settings: Settings) -> uvicorn.Server:
    """Creates a server of the gateway, which listens when it is run.

    Raises:
      SettingsError: the tokens cannot be read.
    """
    config = uvicorn.Config(
        lambda: create_app(settings),
        factory=True,
        host=settings.host,
        port=settings.port,
        http=DeadlineProtocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.header_timeout,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
    )
    return uvicorn.Server(config)


def run(settings: Settings) -> None:
    """Serves until the process receives a signal to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    server(settings).run()
