"""The gateway on uvicorn, with a deadline for the heads of requests."""

import logging
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.app import create_app
from gateway.settings import Settings

_MAX_HEAD_BYTES = 16 * 2**10
SHUTDOWN_SECONDS = 10
"""How long requests in work may take once the process is told to end."""


class DeadlineProtocol(H11Protocol):
    """Closes a connection that does not bring the whole head of its next request in time.

    uvicorn's own `timeout_keep_alive` begins with the first answer and ends with the first byte
    of the next request: a client that sends nothing, or a byte now and then, could hold a
    connection forever.
    Here it begins with the connection and ends with a whole head. What comes after an early
    answer, such as the rest of a body that is too long, is thrown away until then.
    """

    def connection_made(self, transport: Any) -> None:
        """Sets the deadline of the first request."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def data_received(self, data: bytes) -> None:
        """Takes bytes; the base class ends the deadline once they make up a head."""
        self.conn.receive_data(data)
        self.handle_events()


def server(settings: Settings) -> uvicorn.Server:
    """A server of the gateway that listens once it is run.

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
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
    )
    return uvicorn.Server(config)


def run(settings: Settings) -> None:
    """Serves until the process is told to end."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    server(settings).run()
