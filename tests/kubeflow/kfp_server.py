"""A server on localhost that behaves like the API of Kubeflow Pipelines (v2beta1).

It serves the calls that this project makes: pipelines and their versions, experiments, runs,
recurring runs; in multi-user mode if it is given users. Requests and answers are validated against
kfp-server-api's models: an unknown field, an invalid value of an enumeration or a value of the
wrong type gives a 400 in a request, and fails the test in an answer. No run is executed: its state
advances through those that a test sets, one per request.
"""

import dataclasses
import datetime
import email
import itertools
import json
import re
import ssl
import threading
import traceback
import urllib.parse
import uuid
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import kfp_server_api
import yaml
from kfp_server_api import ApiClient
from kfp_users import DeniedError, Users

API = "/apis/v2beta1"
FINISHED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
DEFAULT_SERVICE_ACCOUNT = "pipeline-runner"
DEFAULT_PAGE_SIZE = 20
_GRPC = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 500: 13, 503: 14}
_ON = {"ENABLE": "ENABLED", "DISABLE": "DISABLED", "MODE_UNSPECIFIED": "DISABLED"}
_REQUIRED = {
    "V2beta1Pipeline": ("pipeline_id", "display_name", "created_at"),
    "V2beta1PipelineVersion": ("pipeline_id", "pipeline_version_id", "display_name"),
    "V2beta1Experiment": ("experiment_id", "display_name", "storage_state"),
    "V2beta1Run": ("run_id", "experiment_id", "display_name", "state", "storage_state"),
    "V2beta1RecurringRun": ("recurring_run_id", "display_name", "status", "mode", "trigger"),
}
_FILTERS = {
    "pipelines": {"display_name", "pipeline_id"},
    "versions": {"display_name", "pipeline_version_id"},
    "experiments": {"display_name", "experiment_id"},
    "runs": {"display_name", "run_id", "recurring_run_id", "state", "experiment_id"},
    "recurringruns": {"display_name", "recurring_run_id"},
}


class RefusedError(DeniedError):
    """The server answers with an error."""


@dataclasses.dataclass
class Fault:
    """An error with which a request is answered."""

    method: str
    path: str
    status: int
    times: float
    body: bytes | None
    content_type: str


@dataclasses.dataclass(frozen=True)
class Request:
    """A received request."""

    method: str
    path: str
    query: dict[str, str]
    headers: Any
    body: bytes

    def json(self, model: str) -> dict[str, Any]:
        """The body, which must be of kfp-server-api's `model`."""
        try:
            given = json.loads(self.body or b"{}")
            check(given, model)
        except ValueError as error:
            raise RefusedError(400, f"the body is invalid: {error}") from error
        return given


class KfpServer:
    """The server, in background threads; a context manager."""

    def __init__(
        self,
        *,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        users: Users | None = None,
    ) -> None:
        self.token = token
        self.users = users
        self.states: list[str] = ["SUCCEEDED"]
        self.requests: list[Request] = []
        self.broken: list[str] = []
        self._faults: list[Fault] = []
        self._stored: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in _FILTERS}
        self._next_states: dict[str, list[str]] = {}
        self._lock = threading.RLock()
        self._clock = itertools.count()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://localhost:{self._http.server_address[1]}"

    def __enter__(self) -> "KfpServer":
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        assert not self.broken, self.broken[0]

    def fail(
        self,
        status: int,
        *,
        method: str = ".*",
        path: str = ".*",
        times: float = 1,
        body: bytes | None = None,
        content_type: str = "application/json",
    ) -> None:
        """Answers the next `times` matching requests with an error, or with `body`."""
        self._faults.append(Fault(method, path, status, times, body, content_type))

    def all(self, kind: str) -> list[dict[str, Any]]:
        """All runs, recurringruns, pipelines, versions or experiments, oldest first."""
        return list(self._stored[kind].values())

    def count(self, method: str, path: str) -> int:
        """The number of requests with a method for a path (a pattern)."""
        return sum(
            request.method == method and bool(re.fullmatch(API + path, request.path))
            for request in self.requests
        )

    def tick(self, schedule_id: str) -> dict[str, Any] | None:
        """A scheduled time: starts a run, unless paused or at the maximum concurrency."""
        schedule = self._stored["recurringruns"][schedule_id]
        active = [
            run
            for run in self.all("runs")
            if run.get("recurring_run_id") == schedule_id and run["state"] not in FINISHED
        ]
        if schedule["mode"] != "ENABLE" or len(active) >= int(schedule["max_concurrency"]):
            return None
        inherited = ("pipeline_version_reference", "runtime_config", "experiment_id")
        given = {key: schedule[key] for key in inherited if key in schedule}
        name = f"{schedule['display_name']}-{len(self._stored['runs']) + 1}"
        return self._new_run({**given, "display_name": name}, recurring_run_id=schedule_id)

    def answer(self, request: Request) -> tuple[int, bytes, str]:
        """The status, body and content type of the answer to a request."""
        with self._lock:
            self.requests.append(request)
            try:
                self._authenticate(request)
                if fault := self._fault(request):
                    return fault.status, fault.body or b"", fault.content_type
                body = self._route(request)
            except DeniedError as refused:
                return refused.status, _error(refused.status, refused.message), "application/json"
            except Exception:
                self.broken.append(traceback.format_exc())
                return 500, _error(500, "the test server is broken"), "application/json"
            return 200, json.dumps(body).encode(), "application/json"

    def _authenticate(self, request: Request) -> None:
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            raise RefusedError(401, "Request header error: there is no user identity header.")

    def _fault(self, request: Request) -> Fault | None:
        for fault in self._faults:
            matches = re.fullmatch(fault.method, request.method) and re.fullmatch(
                API + fault.path, request.path
            )
            if matches and fault.times > 0:
                fault.times -= 1
                if fault.body is None:
                    raise RefusedError(fault.status, f"asked to fail with {fault.status}")
                return fault
        return None

    def _route(self, request: Request) -> Any:
        for method, pattern, handle in self._routes():
            match = re.fullmatch(API + pattern, request.path)
            if match and method == request.method:
                return handle(request, *map(urllib.parse.unquote, match.groups()))
        raise RefusedError(404, f"Not Found: {request.method} {request.path}")

    def _routes(self) -> Iterable[tuple[str, str, Callable[..., Any]]]:
        one = r"/([^/:]+)"
        return (
            ("GET", "/experiments", self._list_experiments),
            ("POST", "/experiments", self._create_experiment),
            ("GET", "/pipelines", self._list_pipelines),
            ("POST", "/pipelines", self._create_pipeline),
            ("POST", "/pipelines/upload_version", self._upload_version),
            ("GET", f"/pipelines{one}/versions", self._list_versions),
            ("GET", "/runs", self._list_runs),
            ("POST", "/runs", self._create_run),
            ("GET", f"/runs{one}", self._get_run),
            ("GET", "/recurringruns", self._list_schedules),
            ("POST", "/recurringruns", self._create_schedule),
            ("GET", f"/recurringruns{one}", self._get_schedule),
            ("POST", f"/recurringruns{one}:enable", self._enable),
            ("POST", f"/recurringruns{one}:disable", self._disable),
            ("DELETE", f"/recurringruns{one}", self._delete_schedule),
        )

    def _authorize(self, request: Request, verb: str, resource: str, namespace: str) -> None:
        if self.users is not None:
            self.users.check(request.headers, verb, resource, namespace)

    def _authorize_of(self, request: Request, verb: str, kind: str, key: str) -> dict[str, Any]:
        """Returns an object that exists, if the sender may use the verb on it."""
        found = self._get(kind, key)
        resource = {"recurringruns": "jobs", "versions": "pipelines"}.get(kind, kind)
        self._authorize(request, verb, resource, self._namespace(found))
        return found

    def _namespace(self, found: dict[str, Any]) -> str:
        # Of runs, schedules and versions the namespace is that of what they belong to.
        for kind, key in (("experiments", "experiment_id"), ("pipelines", "pipeline_id")):
            if key in found:
                return str(self._get(kind, found[key])["namespace"])
        raise AssertionError(found)

    def _kept(self, given: dict[str, Any]) -> str:
        """The namespace of a new object; single-user mode ignores that of the request."""
        return str(given.get("namespace") or "") if self.users is not None else ""

    def _in_namespace(self, request: Request, verb: str, kind: str) -> list[dict[str, Any]]:
        """The objects in the namespace of the request."""
        namespace = request.query.get("namespace", "")
        self._authorize(request, verb, kind, namespace)
        kept = self._kept(request.query)
        return [found for found in self.all(kind) if found["namespace"] == kept]

    def _list_experiments(self, request: Request) -> Any:
        found = self._page(
            request, "experiments", self._in_namespace(request, "list", "experiments")
        )
        return checked(found, "V2beta1ListExperimentsResponse")

    def _create_experiment(self, request: Request) -> Any:
        given = request.json("V2beta1Experiment")
        namespace = self._kept(given)
        self._authorize(request, "create", "experiments", namespace)
        name = given.get("display_name")
        self._check_unique("experiments", display_name=name, namespace=namespace)
        made = {**given, "storage_state": "AVAILABLE", "namespace": namespace}
        return checked(self._store("experiments", "experiment_id", made), "V2beta1Experiment")

    def _list_pipelines(self, request: Request) -> Any:
        found = self._page(request, "pipelines", self._in_namespace(request, "list", "pipelines"))
        return checked(found, "V2beta1ListPipelinesResponse")

    def _create_pipeline(self, request: Request) -> Any:
        given = request.json("V2beta1Pipeline")
        namespace = self._kept(given)
        self._authorize(request, "create", "pipelines", namespace)
        self._check_unique("pipelines", name=given.get("name"), namespace=namespace)
        made = self._store("pipelines", "pipeline_id", {**given, "namespace": namespace})
        return checked(made, "V2beta1Pipeline")

    def _upload_version(self, request: Request) -> Any:
        pipeline = self._authorize_of(
            request, "create", "pipelines", request.query.get("pipelineid", "")
        )
        head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        (part,) = email.message_from_bytes(head + request.body).get_payload()
        spec = _pipeline_spec(part.get_payload(decode=True))
        name, pipeline_id = request.query["name"], pipeline["pipeline_id"]
        self._check_unique("versions", name=name, pipeline_id=pipeline_id)
        made = {
            "pipeline_id": pipeline_id,
            "name": name,
            "display_name": request.query.get("display_name", name),
            "pipeline_spec": spec,
        }
        made = self._store("versions", "pipeline_version_id", made)
        return checked(made, "V2beta1PipelineVersion")

    def _list_versions(self, request: Request, pipeline_id: str) -> Any:
        self._authorize_of(request, "list", "pipelines", pipeline_id)
        of_it = [found for found in self.all("versions") if found["pipeline_id"] == pipeline_id]
        page = self._page(request, "versions", of_it, key="pipeline_versions")
        return checked(page, "V2beta1ListPipelineVersionsResponse")

    def _create_run(self, request: Request) -> Any:
        given = request.json("V2beta1Run")
        experiment = self._get("experiments", given.get("experiment_id", ""))
        self._authorize(request, "create", "runs", experiment["namespace"])
        return self._new_run(given)

    def _new_run(self, given: dict[str, Any], **more: str) -> Any:
        self._check_source(given)
        made = {
            **given,
            **more,
            "state": "PENDING",
            "storage_state": "AVAILABLE",
            "service_account": given.get("service_account") or DEFAULT_SERVICE_ACCOUNT,
            "finished_at": "1970-01-01T00:00:00Z",
        }
        made = self._store("runs", "run_id", made)
        self._next_states[made["run_id"]] = list(self.states)
        return checked(made, "V2beta1Run")

    def _get_run(self, request: Request, run_id: str) -> Any:
        run = self._authorize_of(request, "get", "runs", run_id)
        self._advance(run)
        return checked(run, "V2beta1Run")

    def _list_runs(self, request: Request) -> Any:
        found = self._of_experiment(request, "runs")
        answer = checked(self._page(request, "runs", found), "V2beta1ListRunsResponse")
        sent = json.loads(json.dumps(answer))
        for run in answer.get("runs", ()):
            self._advance(self._stored["runs"][run["run_id"]])
        return sent

    def _advance(self, run: dict[str, Any]) -> None:
        upcoming = self._next_states[run["run_id"]]
        if upcoming:
            self.set_state(run["run_id"], upcoming.pop(0))

    def set_state(self, run_id: str, state: str) -> None:
        """Sets the state of a run."""
        run = self._stored["runs"][run_id]
        run["state"] = state
        task = {"display_name": "Trainer", "task_id": "1", "run_id": run_id, "state": state}
        if state == "FAILED":
            task["error"] = {"code": 13, "message": "exit code 137: out of memory"}
        run["run_details"] = {"task_details": [task]}
        if state in FINISHED:
            run["finished_at"] = self._now()

    def _list_schedules(self, request: Request) -> Any:
        found = self._of_experiment(request, "recurringruns")
        page = self._page(request, "recurringruns", found, key="recurringRuns")
        return checked(page, "V2beta1ListRecurringRunsResponse")

    def _create_schedule(self, request: Request) -> Any:
        given = request.json("V2beta1RecurringRun")
        if not given.get("display_name"):
            raise RefusedError(400, "Recurring run name is empty. Please specify a valid name")
        experiment = self._get("experiments", given.get("experiment_id", ""))
        self._authorize(request, "create", "jobs", experiment["namespace"])
        self._check_source(given)
        if not 1 <= int(given.get("max_concurrency", 0)) <= 10:
            raise RefusedError(400, "The max concurrency must be at least 1 and at most 10")
        cron = given.get("trigger", {}).get("cron_schedule", {}).get("cron", "")
        if len(cron.split()) != 6:
            raise RefusedError(400, f"Schedule cron is not supported: {cron!r}")
        made = {
            **given,
            "max_concurrency": str(given["max_concurrency"]),
            "status": _ON[given["mode"]],
            "service_account": given.get("service_account") or DEFAULT_SERVICE_ACCOUNT,
            "namespace": experiment["namespace"],
        }
        # Empty fields of a message are left out of its JSON.
        made["runtime_config"] = {k: v for k, v in given["runtime_config"].items() if v}
        made = {key: value for key, value in made.items() if value not in (False, None)}
        return checked(
            self._store("recurringruns", "recurring_run_id", made), "V2beta1RecurringRun"
        )

    def _get_schedule(self, request: Request, schedule_id: str) -> Any:
        found = self._authorize_of(request, "get", "recurringruns", schedule_id)
        return checked(found, "V2beta1RecurringRun")

    def _enable(self, request: Request, schedule_id: str) -> Any:
        found = self._authorize_of(request, "enable", "recurringruns", schedule_id)
        found.update(mode="ENABLE", status="ENABLED")
        return {}

    def _disable(self, request: Request, schedule_id: str) -> Any:
        found = self._authorize_of(request, "disable", "recurringruns", schedule_id)
        found.update(mode="DISABLE", status="DISABLED")
        return {}

    def _delete_schedule(self, request: Request, schedule_id: str) -> Any:
        self._authorize_of(request, "delete", "recurringruns", schedule_id)
        del self._stored["recurringruns"][schedule_id]
        for run in self.all("runs"):
            if run.get("recurring_run_id") == schedule_id and run["state"] not in FINISHED:
                self._next_states[run["run_id"]] = []
                self.set_state(run["run_id"], "CANCELED")
        return {}

    def _check_source(self, given: dict[str, Any]) -> None:
        self._get("experiments", given.get("experiment_id", ""))
        reference = given.get("pipeline_version_reference")
        if reference:
            version = self._get("versions", reference["pipeline_version_id"])
            spec = version["pipeline_spec"]
        elif given.get("pipeline_spec"):
            spec = given["pipeline_spec"]
        else:
            raise RefusedError(400, "A pipeline version or a pipeline spec is required")
        spec = spec.get("pipeline_spec", spec)
        declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        for name in given.get("runtime_config", {}).get("parameters") or {}:
            if name not in declared:
                raise RefusedError(400, f"Unknown input parameter: {name}")

    def _store(self, kind: str, key: str, made: dict[str, Any]) -> dict[str, Any]:
        made[key] = str(uuid.uuid4())
        made["created_at"] = self._now()
        self._stored[kind][made[key]] = made
        return made

    def _get(self, kind: str, key: str) -> dict[str, Any]:
        if key not in self._stored[kind]:
            raise RefusedError(404, f"{kind} {key!r} not found")
        return self._stored[kind][key]

    def _check_unique(self, kind: str, **unique: Any) -> None:
        for found in self.all(kind):
            if all(found.get(key) == value for key, value in unique.items()):
                raise RefusedError(409, f"Already exist error: {kind} {unique}")

    def _of_experiment(self, request: Request, kind: str) -> list[dict[str, Any]]:
        experiment_id = request.query.get("experiment_id")
        namespace = self._kept(request.query)
        if experiment_id:
            namespace = self._get("experiments", experiment_id)["namespace"]
        self._authorize(request, "list", "jobs" if kind == "recurringruns" else kind, namespace)
        found = [one for one in self.all(kind) if self._namespace(one) == namespace]
        return [one for one in found if experiment_id in (None, one["experiment_id"])]

    def _page(
        self, request: Request, kind: str, found: list[dict[str, Any]], key: str = ""
    ) -> dict[str, Any]:
        for name, value in _predicates(request, kind):
            found = [one for one in found if one.get(name) == value]
        field, _, direction = (request.query.get("sort_by") or "created_at").partition(" ")
        found = sorted(found, key=lambda one: one[field], reverse=direction == "desc")
        size = int(request.query.get("page_size") or DEFAULT_PAGE_SIZE)
        start = _start(request.query.get("page_token") or "")
        page: dict[str, Any] = {"total_size": len(found)}
        if found:
            page[key or kind] = found[start : start + size]
        if start + size < len(found):
            page["next_page_token"] = f"from-{start + size}"
        return page

    def _now(self) -> str:
        # Every time is unique, so that sorting by time is deterministic.
        began = datetime.datetime(2026, 1, 1) + datetime.timedelta(seconds=next(self._clock))
        return f"{began.isoformat()}Z"


def checked(answer: dict[str, Any], model: str) -> dict[str, Any]:
    """An answer that is valid for kfp-server-api's model and has the fields always present."""
    check(answer, model)
    for key in _REQUIRED.get(model, ()):
        assert answer.get(key), f"{model} lacks {key}: {answer}"
    return answer


def check(given: Any, kind: str) -> None:
    """Checks a value against a type of kfp-server-api.

    Raises:
      ValueError: an unknown field, or a value that the type does not allow.
    """
    if match := re.fullmatch(r"list\[(.+)\]", kind):
        _check_type(given, list, kind)
        for item in given:
            check(item, match[1])
    elif match := re.fullmatch(r"dict\(str, (.+)\)", kind):
        _check_type(given, dict, kind)
        for item in given.values():
            check(item, match[1])
    elif hasattr(kfp_server_api, kind):
        _check_model(given, getattr(kfp_server_api, kind))
    elif kind != "object":
        plain = {"str": (str, int), "int": int, "bool": bool, "datetime": str, "float": float}
        _check_type(given, plain[kind], kind)


def _check_model(given: Any, model: Any) -> None:
    if hasattr(model, "allowable_values"):
        if given not in model.allowable_values:
            raise ValueError(f"{given!r} is not one of {model.allowable_values}")
        return
    _check_type(given, dict, model.__name__)
    types = {json_name: model.openapi_types[key] for key, json_name in model.attribute_map.items()}
    for name, value in given.items():
        if name not in types:
            raise ValueError(f"unknown field {name!r} of {model.__name__}")
        if value is not None:
            check(value, types[name])
    _deserialize(given, model.__name__)


def _deserialize(given: Any, model: str) -> None:
    @dataclasses.dataclass
    class Response:
        data: str

    ApiClient().deserialize(Response(json.dumps(given)), model)


def _check_type(given: Any, kind: Any, name: str) -> None:
    if not isinstance(given, kind):
        raise ValueError(f"{name} is required. Received: {given!r:.80}")


def _pipeline_spec(content: bytes) -> dict[str, Any]:
    documents = list(yaml.safe_load_all(content))
    if not documents or "pipelineInfo" not in documents[0]:
        raise RefusedError(400, "Failed to create a pipeline version: unknown template format")
    if len(documents) == 1:
        return documents[0]
    return {"pipeline_spec": documents[0], "platform_spec": documents[1]}


def _predicates(request: Request, kind: str) -> list[tuple[str, str]]:
    text = request.query.get("filter")
    if not text:
        return []
    predicates = json.loads(text)["predicates"]
    for predicate in predicates:
        if predicate["operation"] not in ("EQUALS", 1) or predicate["key"] not in _FILTERS[kind]:
            raise RefusedError(400, f"Invalid filter of {kind}: {predicate}")
    return [(predicate["key"], predicate["stringValue"]) for predicate in predicates]


def _start(token: str) -> int:
    if not token:
        return 0
    if not token.startswith("from-"):
        raise RefusedError(400, f"Invalid page token {token!r}")
    return int(token.removeprefix("from-"))


def _error(status: int, message: str) -> bytes:
    code = _GRPC.get(status, 2)
    body = {"error": message, "code": code, "message": message, "details": []}
    return json.dumps(body).encode()


def _handler(server: KfpServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Buffered: sent separately, the body would wait for the acknowledgement of the headers.
        wbufsize = -1

        def _serve(self) -> None:
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parameters = dict(urllib.parse.parse_qsl(query))
            request = Request(self.command, path, parameters, self.headers, body)
            status, answer, content_type = server.answer(request)
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - as http.server calls them

        def log_message(self, *_: Any) -> None:
            """Logs nothing, to keep the output of tests clean."""

    return Handler
