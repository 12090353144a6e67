"""A stand-in for the server of Kubeflow's Model Registry, which needs MySQL.

It checks each request with the models of the server's API that its client is generated with.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import mr_openapi as mr

_ROOT = "/api/model_registry/v1/"


class Store:
    """What is registered: resources by kind and id."""

    def __init__(self) -> None:
        self.models: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.artifacts: dict[str, list[dict[str, Any]]] = {}
        self.tokens: set[str | None] = set()
        self._last = 0

    def add(self, kind: dict[str, dict[str, Any]], made: Any) -> dict[str, Any]:
        self._last += 1
        found = {**made.to_dict(), "id": str(self._last)}
        kind[found["id"]] = found
        return found

    def answer(self, method: str, path: str, query: dict[str, str], body: str) -> Any:
        match method, path.removeprefix(_ROOT).split("/"):
            case "GET", ["registered_model"]:
                found = _named(self.models, query["name"])
            case "POST", ["registered_models"]:
                found = self.add(self.models, mr.RegisteredModelCreate.from_json(body))
            case "GET", ["model_version"]:
                parent = query["parentResourceId"]
                found = _named(self.versions, query["name"], registeredModelId=parent)
            case "POST", ["model_versions"]:
                found = self.add(self.versions, mr.ModelVersionCreate.from_json(body))
            case "PATCH", ["model_versions", version]:
                update = mr.ModelVersionUpdate.from_json(body)
                self.versions[version] |= update.to_dict()
                found = self.versions[version]
            case "GET", ["registered_models", model, "versions"]:
                items = [v for v in self.versions.values() if v["registeredModelId"] == model]
                at = int(query.get("nextPageToken", 0))  # one per page
                token = str(at + 1) if at + 1 < len(items) else ""
                page = {"nextPageToken": token, "pageSize": 1, "size": 1}
                found = {**page, "items": items[at : at + 1]}
            case "GET", ["model_versions", version, "artifacts"]:
                items = self.artifacts.get(version, [])
                found = {"items": items, "nextPageToken": "", "pageSize": 9, "size": len(items)}
            case "POST", ["model_versions", version, "artifacts"]:
                made = mr.Artifact.from_json(body).to_dict()
                self.artifacts.setdefault(version, []).append(made)
                found = made
            case _:
                raise ValueError(f"no such call: {method} {path}")
        return found


def _named(kind: dict[str, dict[str, Any]], name: str, **others: str) -> dict[str, Any] | None:
    wanted = {"name": name, **others}
    return next((v for v in kind.values() if wanted.items() <= v.items()), None)


@contextmanager
def model_registry() -> Iterator[tuple[str, Store]]:
    """Yields the address of a server, and what is registered there."""
    store = Store()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            url = urlsplit(self.path)
            store.tokens.add(self.headers.get("Authorization"))
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            try:
                found = store.answer(self.command, url.path, query, body)
                done = 201 if self.command == "POST" else 200
                code, answer = (done, found) if found else (404, {"code": "", "message": "none"})
            except ValueError as error:
                code, answer = 400, {"code": "", "message": str(error)}
            content = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = _answer  # noqa: N815 - as the server calls them

        def log_message(self, format: str, *args: object) -> None:
            """Prints nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", store
        server.shutdown()
