"""A pool of workers for an engine that has one: it spreads the engine's bundles over processes.

Prism starts one worker per job. To it, this pool is that worker; behind it, each bundle is passed
to one of several processes, and the results are passed on once the process has finished the
bundle. So a bundle can fail and be repeated by another process, as Flink and Dataflow repeat it:

    engine <── control, data, state ──> Pool <──> processes with pipeline.worker_pool
"""

import ctypes
import itertools
import multiprocessing
import multiprocessing.forkserver
import os
import queue
import socket
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import small_network
from apache_beam.portability.api import beam_fn_api_pb2 as api
from apache_beam.portability.api import beam_fn_api_pb2_grpc as rpc
from apache_beam.portability.api import endpoints_pb2

_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_ATTEMPT = "+"
_END: Any = object()
_CODE = str(Path(__file__).parents[2])
_NEW_MOUNTS, _BIND, _PRIVATE = 0x20000, 0x1000, 0x44000
_WRITABLE = 0x1020  # a change of a bound folder's mount, without the flag of a read-only one
_MOUNT_SETATTR, _RECURSIVE, _READ_ONLY = 442, 0x8000, 1
_WARM = multiprocessing.get_context("forkserver")
_IMPORTED = [
    "pipeline.worker_pool",
    "small_network",
    "components.image_example_gen.executor",
    "components.statistics_gen.executor",
    "components.imbalance_sampler.executor",
    "components.feature_extractor.executor",
    "components.feature_extractor.inference",
    "apache_beam.ml.inference.tensorflow_inference",
    "components.evaluator.executor",
    "pipeline.batch.scoring",
]


def start_warm() -> None:
    """Has processes forked from one that has imported all, which takes no time."""
    # There is one for all tests. That of tests before may have imported less.
    multiprocessing.forkserver._forkserver._stop()
    _WARM.set_forkserver_preload(_IMPORTED)


class Process:
    """A process with a pool of one worker, and a temporary folder that no other process has.

    Attributes:
      is_isolated: whether `visible` is the only folder that it can write to and others can read,
        which takes the right to mount.
    """

    def __init__(self, folder: Path, visible: Path):
        """Starts it.

        Args:
          folder: its own.
          visible: a folder that all processes see.
        """
        self._folder, self._visible = folder, visible
        self._restarting = threading.Lock()
        self.restart()

    def restart_if_dead(self) -> None:
        """Starts the process anew if it has ended by itself."""
        with self._restarting:
            if not self._process.is_alive():
                self.restart()

    def restart(self) -> None:
        """Starts the process anew."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self.port = _free_port()
        receiver, sender = _WARM.Pipe(duplex=False)
        arguments = (str(self._folder), str(self._visible), self.port, sender)
        self._process = _WARM.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        sender.close()  # so that an error in the process ends the waiting
        self.is_isolated = receiver.recv()

    def stub(self) -> rpc.BeamFnExternalWorkerPoolStub:
        """Returns its service, once it answers."""
        channel = grpc.insecure_channel(f"localhost:{self.port}")
        grpc.channel_ready_future(channel).result(timeout=120)
        return rpc.BeamFnExternalWorkerPoolStub(channel)

    def kill(self) -> None:
        """Ends it, as the loss of its machine does."""
        self._process.kill()
        self._process.join()

    def lose(self) -> None:
        """Ends it, and starts another in its place, before the engine's next job asks for it."""
        with self._restarting:
            self.kill()
            self.restart()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def _serve(folder: str, visible: str, port: int, ready: Any) -> None:
    log = os.open(os.path.join(folder, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    isolated = _isolate(visible)
    own = tempfile.gettempdir() if isolated else folder
    os.environ["TMPDIR"] = tempfile.tempdir = own
    os.chdir(own)
    ready.send(isolated)
    small_network.use(pytest.MonkeyPatch())
    from pipeline.worker_pool import main

    main([f"--service_port={port}"])


def _isolate(visible: str) -> bool:
    """Leaves this process no folder that it can write to and others can read, except `visible`.

    The folders that programs write to by default are empty and its own; the rest is read-only.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source: str, target: str, kind: bytes | None, flags: int) -> bool:
        return not libc.mount(source.encode(), target.encode(), kind, flags, None)

    read_only = (ctypes.c_uint64 * 4)(_READ_ONLY)
    if (
        libc.unshare(_NEW_MOUNTS)
        or not mount("none", "/", None, _PRIVATE)
        or libc.syscall(_MOUNT_SETATTR, -1, b"/", _RECURSIVE, read_only, ctypes.sizeof(read_only))
    ):
        return False
    hidden = {tempfile.gettempdir(), str(Path.home()), "/var/tmp", "/dev/shm"} - {"/"}
    # The code may be in a hidden folder too. Opened now, as they must be of the new mounts.
    shown = [each for each in (_CODE, sys.prefix, sys.base_prefix) if _is_below(each, hidden)]
    kept = {folder: os.open(folder, os.O_PATH) for folder in (*shown, visible)}
    for folder in filter(os.path.isdir, hidden):
        if not mount("tmpfs", folder, b"tmpfs", 0):
            return False
    for folder, opened in kept.items():
        os.makedirs(folder, exist_ok=True)
        if not mount(f"/proc/self/fd/{opened}", folder, None, _BIND):
            raise OSError(f"{folder} can't be shown: {os.strerror(ctypes.get_errno())}")
    return mount("none", visible, None, _WRITABLE)


def _is_below(path: str, folders: set[str]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)


Fault = Callable[[set[str], int, Process], bool]
"""Whether a bundle that a process has done fails: its steps, the number of the try, the process."""


def no_fault(steps: set[str], attempt: int, process: Process) -> bool:
    """Lets no bundle fail."""
    return False


@dataclass
class _Bundle:
    """A bundle that the engine waits for."""

    request: Any = None
    attempts: int = 0
    worker: "_Worker | None" = None
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    is_answered: bool = False


class Pool(rpc.BeamFnExternalWorkerPoolServicer):
    """The worker that the engine sees.

    Attributes:
      endpoint: address for `--environment_config`.
      bundles: number of bundles that each process has finished.
      repeated: number of bundles that were repeated.
      fault: is asked when a process has done a bundle.
    """

    def __init__(self, processes: list[Process]):
        """Serves the processes' workers as one.

        Args:
          processes: which work on the bundles.
        """
        self.processes = processes
        self.bundles: Counter[int] = Counter()
        self.repeated = 0
        self.fault: Fault = no_fault
        self._sessions: dict[str, _Session] = {}
        self._server = _server()
        rpc.add_BeamFnExternalWorkerPoolServicer_to_server(self, self._server)
        self.endpoint = f"localhost:{self._server.add_insecure_port('localhost:0')}"
        self._server.start()

    def StartWorker(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's name
        self._sessions[request.worker_id] = _Session(self, request)
        return api.StartWorkerResponse()

    def StopWorker(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's name
        if session := self._sessions.pop(request.worker_id, None):
            session.stop()
        return api.StopWorkerResponse()

    def stop(self) -> None:
        """Ends the service and all processes."""
        for session in list(self._sessions.values()):
            session.stop()
        self._server.stop(0)
        for process in self.processes:
            process.kill()


class _Session:
    """The workers of one job."""

    def __init__(self, pool: Pool, request: Any):
        self.pool, self.id = pool, request.worker_id
        self._channel = grpc.insecure_channel(request.control_endpoint.url, options=_OPTIONS)
        self.metadata = (("worker_id", self.id),)
        self.control = rpc.BeamFnControlStub(self._channel)
        self.state = rpc.BeamFnStateStub(self._channel)
        self.lock = threading.RLock()
        self.bundles: dict[str, _Bundle] = {}
        self.steps: dict[str, set[str]] = {}
        self._responses: queue.SimpleQueue = queue.SimpleQueue()
        self._elements: queue.SimpleQueue = queue.SimpleQueue()
        self.workers = [
            _Worker(self, index, process) for index, process in enumerate(pool.processes)
        ]
        self._turn = itertools.cycle(self.workers)
        requests = self.control.Control(_each(self._responses), metadata=self.metadata)
        data = rpc.BeamFnDataStub(self._channel).Data(_each(self._elements), metadata=self.metadata)
        self._calls = [requests, data]
        _start(self._instruct, requests)
        _start(self._distribute, data)

    def stop(self) -> None:
        for call in self._calls:
            call.cancel()
        for worker in self.workers:
            worker.stop()
        self._responses.put(_END)
        self._elements.put(_END)

    def _instruct(self, requests: Iterator[Any]) -> None:
        for request in _until_cancelled(requests):
            kind = request.WhichOneof("request")
            if kind == "process_bundle":
                with self.lock:
                    bundle = self.bundles.setdefault(request.instruction_id, _Bundle())
                    bundle.request = request
                    self._try(request.instruction_id, bundle)
            else:  # progress, and splits, which are declined: a bundle is repeated as it is
                answer = api.InstructionResponse(instruction_id=request.instruction_id)
                if kind != "register":
                    getattr(answer, kind).SetInParent()
                self._responses.put(answer)

    def _distribute(self, elements: Iterator[Any]) -> None:
        for message in _until_cancelled(elements):
            for identity, part in _by_instruction(message):
                with self.lock:
                    bundle = self.bundles.setdefault(identity, _Bundle())
                    bundle.inputs.append(part)
                    if bundle.worker is not None:
                        bundle.worker.elements.put(_renamed(part, _name(identity, bundle)))

    def _try(self, identity: str, bundle: _Bundle) -> None:
        """Passes a bundle to the next process."""
        bundle.attempts += 1
        bundle.outputs = []
        bundle.worker = next(self._turn)
        request = api.InstructionRequest()
        request.CopyFrom(bundle.request)
        request.instruction_id = name = _name(identity, bundle)
        bundle.worker.requests.put(request)
        for part in bundle.inputs:
            bundle.worker.elements.put(_renamed(part, name))

    def respond(self, worker: "_Worker", response: Any) -> None:
        """Passes the result of a bundle on, unless it is to fail now."""
        identity, _, attempt = response.instruction_id.rpartition(_ATTEMPT)
        with self.lock:
            bundle = self.bundles.get(identity)
            if bundle is None or bundle.worker is not worker or str(bundle.attempts) != attempt:
                return
            steps = self.steps[bundle.request.process_bundle.process_bundle_descriptor_id]
            if not response.error and self.pool.fault(steps, bundle.attempts, worker.process):
                self.pool.repeated += 1
                self._try(identity, bundle)
                return
            self.pool.bundles[worker.index] += 1
            bundle.is_answered = True
            for part in bundle.outputs:
                self._elements.put(_renamed(part, identity))
            response.instruction_id = identity
            self._responses.put(response)

    def emit(self, name: str, part: Any) -> None:
        """Keeps the outputs of a bundle until it is finished; later ones are passed on."""
        identity, _, attempt = name.rpartition(_ATTEMPT)
        with self.lock:
            bundle = self.bundles.get(identity)
            if bundle is None or str(bundle.attempts) != attempt:
                return
            if bundle.is_answered:
                self._elements.put(_renamed(part, identity))
            else:
                bundle.outputs.append(part)

    def lost(self, worker: "_Worker") -> None:
        """Repeats the bundles of a process that has died."""
        with self.lock:
            for identity, bundle in self.bundles.items():
                if bundle.worker is worker and not bundle.is_answered:
                    self.pool.repeated += 1
                    self._try(identity, bundle)


class _Worker(rpc.BeamFnControlServicer, rpc.BeamFnDataServicer, rpc.BeamFnStateServicer):
    """The engine that a process sees."""

    def __init__(self, session: _Session, index: int, process: Process):
        self._session, self.index, self.process = session, index, process
        self.requests: queue.SimpleQueue = queue.SimpleQueue()
        self.elements: queue.SimpleQueue = queue.SimpleQueue()
        self._server, self._is_stopped = _server(), False
        rpc.add_BeamFnControlServicer_to_server(self, self._server)
        rpc.add_BeamFnDataServicer_to_server(self, self._server)
        rpc.add_BeamFnStateServicer_to_server(self, self._server)
        rpc.add_BeamFnLoggingServicer_to_server(_Logs(), self._server)
        self._url = f"localhost:{self._server.add_insecure_port('localhost:0')}"
        self._server.start()
        self._join()

    def _join(self) -> None:
        endpoint = endpoints_pb2.ApiServiceDescriptor(url=self._url)
        self._pool = self.process.stub()
        asked = api.StartWorkerRequest(
            worker_id=self._session.id,
            control_endpoint=endpoint,
            logging_endpoint=endpoint,
            artifact_endpoint=endpoint,
            provision_endpoint=endpoint,
        )
        assert not self._pool.StartWorker(asked).error

    def stop(self) -> None:
        self._is_stopped = True
        self.requests.put(_END)
        self.elements.put(_END)
        self._server.stop(0)

    def Control(self, request_iterator: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        _start(self._read_responses, request_iterator)
        yield from _each(self.requests)

    def _read_responses(self, responses: Iterator[Any]) -> None:
        for response in _until_cancelled(responses):
            self._session.respond(self, response)
        if not self._is_stopped:  # the process has died
            self._requeue()
            self.process.restart_if_dead()
            self._join()

    def _requeue(self) -> None:
        """Has the next process do what the last one, which has died, was asked for."""
        # In one piece: a bundle that came in between would be repeated while it is being done.
        with self._session.lock:
            self.requests.put(_END)
            self.elements.put(_END)
            self.requests, self.elements = queue.SimpleQueue(), queue.SimpleQueue()
            self._session.lost(self)

    def Data(self, request_iterator: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        _start(self._read_elements, request_iterator)
        yield from _each(self.elements)

    def _read_elements(self, elements: Iterator[Any]) -> None:
        for message in _until_cancelled(elements):
            for name, part in _by_instruction(message):
                self._session.emit(name, part)

    def State(self, request_iterator: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        requests = (_of_engine(request) for request in _until_cancelled(request_iterator))
        yield from self._session.state.State(requests, metadata=self._session.metadata)

    def GetProcessBundleDescriptor(self, request: Any, context: Any) -> Any:  # noqa: N802
        control, metadata = self._session.control, self._session.metadata
        found = control.GetProcessBundleDescriptor(request, metadata=metadata)
        names = [transform.unique_name.split("/") for transform in found.transforms.values()]
        self._session.steps[request.process_bundle_descriptor_id] = set().union(*names)
        found.state_api_service_descriptor.url = self._url
        for transform in found.transforms.values():
            if transform.spec.urn in ("beam:runner:source:v1", "beam:runner:sink:v1"):
                port = api.RemoteGrpcPort.FromString(transform.spec.payload)
                port.api_service_descriptor.url = self._url
                transform.spec.payload = port.SerializeToString()
        return found


class _Logs(rpc.BeamFnLoggingServicer):
    def Logging(self, request_iterator: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        for _ in _until_cancelled(request_iterator):
            pass
        yield from ()


def _server() -> grpc.Server:
    # A stream occupies a thread until it ends.
    return grpc.server(ThreadPoolExecutor(64), options=_OPTIONS)


def _start(work: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=work, args=arguments, daemon=True).start()


def _each(items: queue.SimpleQueue) -> Iterator[Any]:
    while (item := items.get()) is not _END:
        yield item


def _until_cancelled(messages: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from messages
    except Exception as error:  # the server's iterators raise one without a type of its own
        if str(error) and not isinstance(error, grpc.RpcError):
            raise


def _name(identity: str, bundle: _Bundle) -> str:
    return f"{identity}{_ATTEMPT}{bundle.attempts}"


def _by_instruction(message: Any) -> Iterator[tuple[str, Any]]:
    for each in message.data:
        yield each.instruction_id, api.Elements(data=[each])
    for each in message.timers:
        yield each.instruction_id, api.Elements(timers=[each])


def _renamed(part: Any, name: str) -> Any:
    renamed = api.Elements()
    renamed.CopyFrom(part)
    for each in (*renamed.data, *renamed.timers):
        each.instruction_id = name
    return renamed


def _of_engine(request: Any) -> Any:
    request.instruction_id = request.instruction_id.rpartition(_ATTEMPT)[0]
    return request
