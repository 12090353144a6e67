"""Requests to Kubeflow Pipelines over HTTP: their content, retries and error messages."""

import datetime
import json
import socket
import ssl
from pathlib import Path

import kfp_server_api
import pytest
from kfp_samples import section, write_package
from kfp_server import KfpServer
from proxy_on_localhost import Proxy, unused_port
from tls_on_localhost import localhost_tls

from pipeline.kubeflow import package, runs, transport
from pipeline.kubeflow.client import connect, run_name
from pipeline.kubeflow.errors import (
    ConflictError,
    KubeflowError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UsageError,
    WaitTimeoutError,
)

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_BACKOFF_SECONDS", 0)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> package.Package:
    return package.read(write_package(tmp_path_factory.mktemp("package") / "pipeline.yaml"))


@pytest.fixture
def server():
    with KfpServer() as running:
        yield running


@pytest.fixture
def api(server):
    return connect(section(server.url))


def started(api, compiled, **arguments):
    version, _ = api.ensure_version(compiled)
    return api.start_run("a run", api.experiment_id(), arguments, version=version)


def test_a_package_is_uploaded_once(api, server, compiled):
    first, uploaded = api.ensure_version(compiled)
    second, uploaded_again = api.ensure_version(compiled)
    assert (uploaded, uploaded_again) == (True, False)
    assert first == second
    (version,) = server.all("versions")
    assert version["display_name"] == compiled.version_name
    assert set(version["pipeline_spec"]) == {"pipeline_spec", "platform_spec"}


def test_another_package_is_another_version_of_the_same_pipeline(api, server, compiled, tmp_path):
    other = package.read(write_package(tmp_path / "other.yaml", message="bye"))
    first, _ = api.ensure_version(compiled)
    second, _ = api.ensure_version(other)
    assert first.pipeline_id == second.pipeline_id
    assert len(server.all("versions")) == 2


def test_a_version_uploaded_by_another_client_in_the_meantime_is_used(api, server, compiled):
    api.ensure_version(compiled)
    # The first request does not find it yet.
    server.fail(200, method="GET", path="/pipelines/.+/versions", body=b"{}")
    version, uploaded = api.ensure_version(compiled)
    assert not uploaded
    assert version.version_id == server.all("versions")[0]["pipeline_version_id"]


def test_a_run_has_its_version_parameters_root_and_account(server, compiled):
    api = connect(section(server.url, service_account="trainer"))
    started(api, compiled, epochs=3)
    (run,) = server.all("runs")
    assert run["pipeline_version_reference"]["pipeline_version_id"]
    assert run["runtime_config"] == {
        "parameters": {"epochs": 3},
        "pipeline_root": "s3://bucket/outnumbered",
    }
    assert run["service_account"] == "trainer"
    assert run["experiment_id"] == server.all("experiments")[0]["experiment_id"]


def test_a_run_of_a_package_has_no_caching(api, server, compiled):
    api.start_run("a run", api.experiment_id(), {}, package=compiled.path)
    spec = server.all("runs")[0]["pipeline_spec"]["pipeline_spec"]
    assert [t["cachingOptions"] for t in spec["root"]["dag"]["tasks"].values()] == [{}]


def test_no_step_of_an_exit_handler_is_cached_in_a_run_without_caching(api, server, tmp_path):
    path = write_package(tmp_path / "pipeline.yaml", in_exit_handler=True)
    before = path.read_bytes()
    assert b"enableCache: true" in before
    api.start_run("a run", api.experiment_id(), {}, package=path)
    sent = server.all("runs")[0]["pipeline_spec"]
    inner = sent["pipeline_spec"]["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert inner.keys() == {"trainer"}
    assert "enableCache" not in json.dumps(sent)
    assert sent["platform_spec"]
    assert path.read_bytes() == before


def test_the_error_of_a_run_is_that_of_the_step_and_not_of_the_dag_around_it():
    def task(name, state, started, error=None):
        at = datetime.datetime(2026, 1, 1, 0, started, tzinfo=datetime.UTC)
        message = error and kfp_server_api.GooglerpcStatus(message=error)
        return kfp_server_api.V2beta1PipelineTaskDetail(
            display_name=name, state=state, start_time=at, error=message
        )

    tasks = [
        task("exit-handler-1", "FAILED", 1),
        task("Trainer", "FAILED", 2, "Trainer failed: out of memory"),
        task("Notifier", "SUCCEEDED", 3),
    ]
    answer = kfp_server_api.V2beta1Run(
        run_id="r",
        display_name="pets",
        state="FAILED",
        run_details=kfp_server_api.V2beta1RunDetails(task_details=tasks),
    )
    assert runs.describe(answer, "http://localhost").error == (
        "Trainer: Trainer failed: out of memory"
    )


def test_all_pages_of_a_list_are_read_newest_first(api, server, compiled):
    version, _ = api.ensure_version(compiled)
    experiment_id = api.experiment_id()
    for _ in range(101):
        last = api.start_run("a run", experiment_id, {}, version=version)
    listed = list(api.runs(api.experiment_id()))
    assert len({run.run_id for run in listed}) == 101
    assert listed[0].run_id == last.run_id


def test_kfp_prints_nothing(api, compiled, capfd):
    started(api, compiled)
    assert capfd.readouterr() == ("", "")


def test_the_name_of_a_run_has_the_time_in_utc():
    now = datetime.datetime.fromisoformat("2026-01-01T01:00:00+05:00")
    assert run_name("cats", now) == "cats-20251231T200000Z"


def test_a_token_from_the_environment_is_sent(monkeypatch):
    monkeypatch.setenv("KUBEFLOW_TOKEN", "secret\n")
    with KfpServer(token="secret") as server:
        connect(section(server.url, auth={"kind": "token"})).experiment_id()


def test_the_error_for_a_rejected_token_names_its_variable_but_not_its_value(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "old-secret")
    with KfpServer(token="secret") as server:
        api = connect(section(server.url, auth={"kind": "token", "token_env": "MY_TOKEN"}))
        with pytest.raises(RefusedError, match=r"401 Unauthorized.*\$MY_TOKEN") as raised:
            api.experiment_id()
    assert "old-secret" not in str(raised.value)


def test_the_error_for_missing_authentication_names_the_setting(server):
    server.token = "secret"
    with pytest.raises(RefusedError, match=r"kubeflow\.auth\.kind is none"):
        connect(section(server.url)).experiment_id()


def test_a_missing_token_is_reported_before_any_request(server, monkeypatch):
    monkeypatch.delenv("KUBEFLOW_TOKEN", raising=False)
    with pytest.raises(UsageError, match="KUBEFLOW_TOKEN is not set"):
        connect(section(server.url, auth={"kind": "token"}))
    assert server.requests == []


def test_a_renewed_service_account_token_is_read(tmp_path):
    path = tmp_path / "token"
    path.write_text("first")
    auth = {"kind": "service_account", "token_path": str(path)}
    with KfpServer(token="first") as server:
        api = connect(section(server.url, auth=auth))
        api.experiment_id()
        server.token = "second"
        path.write_text("second")
        api.experiment_id()
        path.unlink()
        with pytest.raises(KubeflowError, match=r"auth\.token_path"):
            api.experiment_id()


def test_a_missing_service_account_token_is_reported(tmp_path):
    auth = {"kind": "service_account", "token_path": str(tmp_path / "token")}
    with pytest.raises(UsageError, match="projected service account token"):
        connect(section("http://localhost", auth=auth))


def test_a_host_is_required():
    with pytest.raises(UsageError, match=r"kubeflow\.host is required.*port-forward"):
        connect(section(None))


@pytest.mark.parametrize(
    ("status", "kind", "advice"),
    [
        (400, KubeflowError, "asked to fail with 400"),
        (403, RefusedError, "no permission in namespace 'kubeflow'"),
        (404, NotFoundError, "check the name or id"),
        (409, ConflictError, "of that name already exists"),
        (500, UnavailableError, "deployment ml-pipeline"),
        (503, UnavailableError, "deployment ml-pipeline"),
    ],
)
def test_an_error_names_the_host_the_action_and_what_to_do(server, api, status, kind, advice):
    server.fail(status, times=9)
    with pytest.raises(kind) as raised:
        api.run("42")
    assert type(raised.value) is kind
    message = str(raised.value)
    assert message.startswith(f"the request to {server.url} failed (get run '42'): {status}")
    assert advice in message


def test_a_request_is_retried_after_a_transient_error(server, api):
    experiment_id = api.experiment_id()
    server.fail(503, method="GET", times=3)
    assert api.find_experiment_id() == experiment_id


def test_the_number_of_retries_is_limited(server, api):
    server.fail(503, times=99)
    with pytest.raises(UnavailableError):
        api.run("42")
    assert server.count("GET", "/runs/42") == 4


def test_starting_a_run_is_never_retried(server, api, compiled):
    server.fail(504, method="POST", path="/runs")
    with pytest.raises(UnavailableError):
        started(api, compiled)
    assert server.count("POST", "/runs") == 1


def test_a_server_that_can_t_be_reached(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UnavailableError, match=r"can't be reached \(.*refused.*kubeflow\.host"):
        connect(section(host)).experiment_id()


def test_a_server_that_never_answers_times_out(monkeypatch):
    monkeypatch.setattr(transport, "_READ_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UnavailableError, match="timed out"):
            connect(section(host)).run("42")


def test_a_login_page_is_an_error(server, api):
    server.fail(200, body=b"<html>Log in</html>", content_type="text/html; charset=utf-8")
    with pytest.raises(RefusedError, match=r"a web page.*login page"):
        api.experiment_id()


def test_the_error_page_of_a_proxy_is_shown_without_html_tags(server, api):
    page = b"<html><h1>Bad   Gateway</h1></html>"
    server.fail(502, times=9, body=page, content_type="text/html")
    with pytest.raises(UnavailableError, match=": Bad Gateway;"):
        api.run("42")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate of localhost, and the context of a server that has it."""
    return localhost_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def certificate(tls) -> Path:
    return tls[0]


@pytest.fixture
def tls_server(tls):
    with KfpServer(tls=tls[1]) as running:
        yield running


def test_an_untrusted_certificate_is_refused(tls_server):
    with pytest.raises(UnavailableError, match=r"TLS failed.*kubeflow\.ca_file"):
        connect(section(tls_server.url)).experiment_id()
    assert tls_server.requests == []


def test_a_certificate_in_ca_file_is_trusted(tls_server, certificate):
    connect(section(tls_server.url, ca_file=str(certificate))).experiment_id()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_the_verification_of_certificates_can_be_disabled(tls_server):
    connect(section(tls_server.url, verify_tls=False)).experiment_id()


def test_a_ca_file_without_certificates_is_refused(tmp_path):
    for name in ("nowhere.pem", "empty.pem"):
        (tmp_path / "empty.pem").write_text("")
        with pytest.raises(UsageError, match=r"ca_file.*PEM"):
            connect(section("https://localhost", ca_file=str(tmp_path / name)))


@pytest.mark.parametrize(
    ("state", "succeeded"), [("SUCCEEDED", True), ("FAILED", False), ("CANCELED", False)]
)
def test_waiting_ends_when_the_run_finishes(server, api, compiled, state, succeeded):
    server.states = ["RUNNING", "RUNNING", state]
    run_id = started(api, compiled).run_id
    seen: list[str] = []
    ended = runs.wait(
        api, run_id, timeout=None, poll=0.01, progress=lambda run: seen.append(run.state)
    )
    assert (ended.state, ended.succeeded) == (state, succeeded)
    assert seen == ["RUNNING", "RUNNING", state]


def test_waiting_continues_while_the_server_restarts(server, api, compiled):
    server.states = ["RUNNING", "SUCCEEDED"]
    run_id = started(api, compiled).run_id

    def fail_while_running(run: runs.Run) -> None:
        if run.state == "RUNNING":
            server.fail(503, times=6)

    ended = runs.wait(api, run_id, timeout=None, poll=0.01, progress=fail_while_running)
    assert ended.succeeded


def test_waiting_fails_at_once_if_the_server_has_never_answered(server, api):
    server.fail(503, times=99)
    with pytest.raises(UnavailableError):
        runs.wait(api, "42", timeout=None, poll=0.01)


def test_waiting_is_limited_by_the_timeout(server, api, compiled):
    server.states = ["RUNNING"]
    run_id = started(api, compiled).run_id
    with pytest.raises(WaitTimeoutError, match=f"runs wait {run_id}"):
        runs.wait(api, run_id, timeout=0, poll=0.01)


def test_a_run_names_the_failed_step_and_its_error(server, api, compiled):
    server.states = ["FAILED"]
    run_id = started(api, compiled, epochs=3).run_id
    run = runs.wait(api, run_id, timeout=None, poll=0.01)
    assert run.error == "Trainer: exit code 137: out of memory"
    assert run.parameters == {"epochs": 3}
    assert run.url == f"{server.url}/#/runs/details/{run_id}"


def test_an_active_run_has_no_finish_time(server, api, compiled):
    run = runs.describe(started(api, compiled), server.url)
    assert (run.state, run.finished_at) == ("PENDING", None)


KFP = "http://kfp.cluster.example"


@pytest.fixture
def proxy(server):
    with Proxy(server.url) as running:
        yield running


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_the_proxy_of_the_environment_is_used(server, proxy, monkeypatch, name):
    monkeypatch.setenv(name, proxy.url)
    connect(section(KFP)).experiment_id()
    assert set(proxy.hosts) == {"kfp.cluster.example"}
    assert server.all("experiments")


def test_a_proxy_may_be_given_without_a_scheme(proxy, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", proxy.url.removeprefix("http://"))
    connect(section(KFP)).experiment_id()
    assert proxy.hosts


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_https_requests_are_tunnelled(tls_server, monkeypatch):
    with Proxy(tls_server.url) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("HTTP_PROXY", "http://not.this.one.example")
        connect(section("https://kfp.cluster.example", verify_tls=False)).experiment_id()
    assert set(proxy.hosts) == {"kfp.cluster.example"}
    assert tls_server.all("experiments")


WITHOUT_PROXY = {
    "http://kfp.cluster.example": ".cluster.example",
    "http://10.1.2.3": "10.0.0.0/8",
    "http://kfp.example:8080": "kfp.example:8080",
    "http://all.example": "*",
    "http://localhost:8080": "",
    "http://127.0.0.1:8080": "",
    "http://[::1]:8080": "",
}


@pytest.mark.parametrize("host", WITHOUT_PROXY)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_no_proxy_is_used_for_hosts_in_no_proxy_and_for_this_machine(monkeypatch, host, name):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    assert transport.RestClient(section(host)).pool_manager.proxy is None or WITHOUT_PROXY[host]
    monkeypatch.setenv(name, WITHOUT_PROXY[host])
    assert transport.RestClient(section(host)).pool_manager.proxy is None


def test_the_credentials_of_a_proxy_are_sent_to_it_and_never_shown(server, monkeypatch, caplog):
    caplog.set_level("DEBUG")
    with Proxy(server.url, user="me:p@ss") as proxy:
        address = proxy.url.removeprefix("http://")
        monkeypatch.setenv("HTTP_PROXY", f"http://me:p%40ss@{address}")
        connect(section(KFP)).experiment_id()
        monkeypatch.setenv("HTTP_PROXY", f"http://me:wrong@{address}")
        with pytest.raises(KubeflowError, match=r": 407 .*http://user:password@") as refused:
            connect(section(KFP)).experiment_id()
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:wrong@{address}")
        with pytest.raises(UnavailableError, match=r"through the proxy .*407") as tunnel:
            connect(section(KFP.replace("http", "https"))).experiment_id()
    shown = f"{refused.value} {tunnel.value} {caplog.text}"
    assert not any(secret in shown for secret in ("p@ss", "p%40ss", "wrong"))


def test_a_proxy_that_can_t_be_reached_is_named(monkeypatch):
    with unused_port() as url:
        monkeypatch.setenv("HTTP_PROXY", url.replace("http://", "http://me:secret@"))
        with pytest.raises(
            UnavailableError, match=f"through the proxy {url} .*refused.*NO_PROXY"
        ) as raised:
            connect(section(KFP)).experiment_id()
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["socks5://me:secret@proxy:1080", "http://me:secret@proxy:port"])
def test_a_proxy_that_is_not_an_http_proxy_is_rejected(monkeypatch, url):
    monkeypatch.setenv("HTTP_PROXY", url)
    with pytest.raises(UsageError, match=r"must be an HTTP proxy.*Received: ") as raised:
        connect(section(KFP))
    assert "secret" not in str(raised.value)
