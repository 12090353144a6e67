"""Requests to a multi-user cluster behind a gateway: cookies, headers, commands, namespaces."""

import json
import os
import select
import shlex
import sys
from pathlib import Path

import pytest
from kfp.client import Client
from kfp_samples import section, write_package, write_settings
from kfp_server import KfpServer
from kfp_users import Users
from oauth2_proxy import API, COOKIE, PAGE, REDIRECT, SIGN_IN, Gateway
from typer.testing import CliRunner, Result

from pipeline.cli import app
from pipeline.kubeflow import package, runs, schedule, transport
from pipeline.kubeflow.client import connect
from pipeline.kubeflow.credentials import Credentials
from pipeline.kubeflow.errors import KubeflowError, RefusedError, UsageError
from pipeline.kubeflow.settings import Auth, Schedule

USER, OTHER = "user@example.com", "other@example.com"
SESSION, EXPIRED = "AbCdEf|1766000000|sig=", "ZyXwVu|1500000000|sig="
PROFILE = "kubeflow-user-example-com"
BY_COOKIE = {"headers": {"Cookie": {"env": "KUBEFLOW_COOKIE", "prefix": f"{COOKIE}="}}}


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_BACKOFF_SECONDS", 0)
    monkeypatch.setenv("KUBEFLOW_COOKIE", SESSION)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> package.Package:
    return package.read(write_package(tmp_path_factory.mktemp("package") / "pipeline.yaml"))


@pytest.fixture
def server():
    users = Users({USER: {PROFILE}, OTHER: {"other"}}, tokens={"token-of-user": USER})
    with KfpServer(users=users) as running:
        yield running


@pytest.fixture
def gateway(server):
    with Gateway(server.url, {SESSION: USER}) as running:
        yield running


def api(gateway: Gateway | KfpServer, *, auth: object = BY_COOKIE, **more: object):
    return connect(section(gateway.url, auth=auth, **{"namespace": PROFILE, **more}))


def by_command(script: str, **more: object) -> dict:
    """Authentication with the cookie that a shell command prints."""
    source = {"command": ["sh", "-c", script], "prefix": f"{COOKIE}=", **more}
    return {"headers": {"Cookie": source}}


def printing(path: Path, log: Path) -> str:
    """A shell command that prints a file, and logs that it has."""
    return f"echo run >> {shlex.quote(str(log))}; cat {shlex.quote(str(path))}"


def test_a_cookie_from_the_environment_signs_in(gateway, server):
    assert api(gateway).experiment_id() == server.all("experiments")[0]["experiment_id"]


def test_the_whole_cookie_header_may_be_in_the_variable(gateway, monkeypatch):
    monkeypatch.setenv("KUBEFLOW_COOKIE", f" lang=en; {COOKIE}={SESSION}\n")
    api(gateway, auth={"headers": {"Cookie": "KUBEFLOW_COOKIE"}}).experiment_id()


def test_a_header_of_any_name_is_sent(server, monkeypatch):
    monkeypatch.setenv("ME", USER)
    api(server, auth={"headers": {"kubeflow-userid": "ME"}}).experiment_id()


def test_a_header_of_the_settings_replaces_that_of_the_client(server, monkeypatch):
    monkeypatch.setenv("ME", USER)
    monkeypatch.setenv("KIND", "application/x-other")
    api(server, auth={"headers": {"kubeflow-userid": "ME", "ACCEPT": "KIND"}}).experiment_id()
    for request in server.requests:
        assert request.headers.get_all("Accept") == ["application/x-other"]


def test_a_token_is_let_in_by_the_gateway_or_by_the_api_itself(gateway, server, monkeypatch):
    monkeypatch.setenv("KUBEFLOW_TOKEN", "token-of-user")
    gateway.sessions["token-of-user"] = USER
    for url in (gateway, server):
        api(url, auth={"kind": "token"}).experiment_id()


def test_runs_and_schedules_are_started_and_read_in_the_namespace_of_a_profile(
    gateway, server, compiled
):
    kubeflow = api(gateway)
    experiment_id = kubeflow.experiment_id()
    version, _ = kubeflow.ensure_version(compiled)
    started = kubeflow.start_run("a run", experiment_id, {}, version=version)
    assert runs.wait(kubeflow, started.run_id, timeout=None, poll=0.01).succeeded
    planned = schedule.Desired("nightly", Schedule(cron="0 0 3 * * *"), version, {})
    waiting = schedule.Waiting(poll=0.01)
    assert schedule.apply(kubeflow, planned, experiment_id, waiting).action == "created"
    assert schedule.apply(kubeflow, planned, experiment_id, waiting).action == "unchanged"
    schedule.pause(kubeflow, "nightly")
    assert schedule.resume(kubeflow, "nightly").action == "resumed"
    schedule.delete(kubeflow, "nightly", waiting)
    kinds = ("experiments", "pipelines")
    assert {found["namespace"] for kind in kinds for found in server.all(kind)} == {PROFILE}
    assert server.all("recurringruns") == []


def test_the_same_names_in_another_profile_are_not_found(gateway, server, compiled, monkeypatch):
    gateway.sessions["session-of-other"] = OTHER
    kubeflow = api(gateway)
    kubeflow.experiment_id()
    kubeflow.ensure_version(compiled)
    monkeypatch.setenv("KUBEFLOW_COOKIE", "session-of-other")
    another = api(gateway, namespace="other")
    assert another.find_experiment_id() is None
    assert another.ensure_version(compiled)[1]
    assert [found["namespace"] for found in server.all("pipelines")] == [PROFILE, "other"]


@pytest.mark.parametrize("namespace", ["kubeflow", "other", "kubeflow-user-example-con"])
def test_a_namespace_of_others_or_that_does_not_exist_is_told_with_the_user(gateway, namespace):
    with pytest.raises(RefusedError) as raised:
        api(gateway, namespace=namespace).experiment_id()
    assert (
        f"403 Forbidden: user '{USER}' may not list experiments in namespace '{namespace}'; "
        "set kubeflow.namespace to the namespace of one of the user's profiles"
    ) in str(raised.value)


def test_a_permission_that_is_missing_is_told_by_its_verb(server, gateway):
    kubeflow = api(gateway)
    experiment_id = kubeflow.experiment_id()
    server.users = Users({USER: set()})
    with pytest.raises(RefusedError, match=f"may not list recurring runs in namespace '{PROFILE}'"):
        kubeflow.schedules(experiment_id)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (REDIRECT, r"a redirect to http://localhost:\d+/dex/auth, a login page; "),
        (PAGE, "a web page, such as a login page; "),
        (SIGN_IN, "a web page, such as a login page; "),
        (API, r"401 Unauthorized: Unauthorized; "),
    ],
)
def test_who_is_not_signed_in_is_told_what_to_give(gateway, server, answer, told):
    gateway.answer = answer
    with pytest.raises(RefusedError, match=told) as raised:
        api(gateway, auth={}).experiment_id()
    assert "kubeflow.auth.headers, such as {Cookie: KUBEFLOW_COOKIE}" in str(raised.value)
    assert "secret-of-the-session" not in str(raised.value)
    assert gateway.refused == 1
    assert server.requests == []


@pytest.mark.parametrize("answer", [REDIRECT, PAGE, SIGN_IN, API])
def test_an_expired_cookie_is_told_by_its_variable_and_not_by_its_value(
    gateway, monkeypatch, answer
):
    gateway.answer = answer
    monkeypatch.setenv("KUBEFLOW_COOKIE", EXPIRED)
    with pytest.raises(
        RefusedError, match=r"the header Cookie in \$KUBEFLOW_COOKIE was not accepted.*sign in"
    ) as raised:
        api(gateway).experiment_id()
    assert EXPIRED not in str(raised.value)


@pytest.mark.parametrize("auth", [BY_COOKIE, {"kind": "token"}])
def test_no_header_is_sent_to_the_host_of_a_redirect(gateway, server, monkeypatch, auth, compiled):
    monkeypatch.setenv("KUBEFLOW_TOKEN", "token-of-user")
    gateway.sessions["token-of-user"] = USER
    kubeflow = api(gateway, auth=auth)
    experiment_id = kubeflow.experiment_id()
    version, _ = kubeflow.ensure_version(compiled)
    gateway.sessions.clear()
    with KfpServer() as elsewhere:
        gateway.login_url = f"{elsewhere.url}/dex/auth"
        told = f"a redirect to {elsewhere.url}/dex/auth, a login"
        with pytest.raises(RefusedError, match=told):
            kubeflow.run("42")
        with pytest.raises(RefusedError, match=told):
            kubeflow.start_run("a run", experiment_id, {}, version=version)
        assert elsewhere.requests == []


def test_a_server_that_has_moved_is_no_login_page(gateway):
    gateway.login_url = "https://kfp.example/apis/v2beta1/runs/42/"
    with pytest.raises(KubeflowError, match=r"redirects to https://kfp\.example; set kubeflow\."):
        api(gateway, auth={}).run("42")


def test_a_session_that_ends_in_a_long_wait_says_how_to_wait_on(gateway, server, compiled):
    server.states = ["RUNNING", "RUNNING", "SUCCEEDED"]
    kubeflow = api(gateway)
    version, _ = kubeflow.ensure_version(compiled)
    run_id = kubeflow.start_run("a run", kubeflow.experiment_id(), {}, version=version).run_id

    def sign_out(run: runs.Run) -> None:
        gateway.sessions.clear()

    with pytest.raises(RefusedError, match=f"not accepted.*The run goes on.*runs wait {run_id}"):
        runs.wait(kubeflow, run_id, timeout=None, poll=0.01, progress=sign_out)
    gateway.sessions[SESSION] = USER
    assert runs.wait(kubeflow, run_id, timeout=None, poll=0.01).succeeded


@pytest.mark.parametrize("answer", [REDIRECT, PAGE, SIGN_IN, API])
def test_a_command_runs_once_and_again_when_its_cookie_has_expired(
    gateway, server, compiled, tmp_path, answer
):
    gateway.answer = answer
    (tmp_path / "cookie").write_text(f"{SESSION}\n")
    log = tmp_path / "log"
    server.states = ["RUNNING", "RUNNING", "RUNNING", "SUCCEEDED"]
    kubeflow = api(gateway, auth=by_command(printing(tmp_path / "cookie", log)))
    assert not log.exists()
    version, _ = kubeflow.ensure_version(compiled)
    run_id = kubeflow.start_run("a run", kubeflow.experiment_id(), {}, version=version).run_id
    assert log.read_text() == "run\n"

    def new_session(run: runs.Run) -> None:
        if "next" not in gateway.sessions:
            gateway.sessions = {"next": USER}
            (tmp_path / "cookie").write_text("next")

    assert runs.wait(kubeflow, run_id, timeout=5, poll=0.01, progress=new_session).succeeded
    assert log.read_text() == "run\n" * 2


def test_a_command_whose_cookie_is_refused_twice_is_an_error(gateway, tmp_path):
    (tmp_path / "cookie").write_text(EXPIRED)
    script = printing(tmp_path / "cookie", tmp_path / "log")
    with pytest.raises(RefusedError, match="that 'sh' has printed again") as error:
        api(gateway, auth=by_command(script)).experiment_id()
    assert (tmp_path / "log").read_text() == "run\n" * 2
    assert EXPIRED not in str(error.value)


def test_a_run_is_started_once_when_the_session_expires_with_it(
    gateway, server, compiled, tmp_path
):
    (tmp_path / "cookie").write_text(SESSION)
    kubeflow = api(gateway, auth=by_command(printing(tmp_path / "cookie", tmp_path / "log")))
    experiment_id = kubeflow.experiment_id()
    gateway.sessions = {"next": USER}
    (tmp_path / "cookie").write_text("next")
    # The body of an upload is sent twice, too.
    version, uploaded = kubeflow.ensure_version(compiled)
    gateway.sessions = {"last": USER}
    (tmp_path / "cookie").write_text("last")
    kubeflow.start_run("a run", experiment_id, {}, version=version)
    assert uploaded
    assert len(server.all("runs")) == 1


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo secret-output; exit 3", r"'sh' of kubeflow\.auth\.headers\.Cookie failed \(exit"),
        ("kill -9 $$", "was ended by signal 9"),
        ("true", "printed nothing on standard output"),
        ("echo; echo", "printed nothing on standard output"),
        ("echo secret-output; echo two", "must be one line. Received: 2 lines, not shown"),
        ("printf 'secret-output\\ttab'", r"printable ASCII text. Received: U\+0009 at position 14"),
        ("printf 'secret-output\\303\\251'", r"Received: U\+00E9 at position 14"),
        ("yes secret-output", "printed more than 65,536 bytes"),
    ],
)
def test_a_command_that_gives_no_value_is_an_error_without_its_output(
    gateway, server, script, message
):
    with pytest.raises(KubeflowError, match=message) as raised:
        api(gateway, auth=by_command(script)).experiment_id()
    assert "secret-output" not in str(raised.value)
    assert gateway.refused == 0


def test_a_command_has_a_time_limit_that_ends_its_children(gateway, tmp_path):
    os.mkfifo(tmp_path / "alive")
    reader = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    # The child keeps standard output open, and the pipe, whose end tells that it has ended.
    script = f"(exec sleep 600) 3> {shlex.quote(str(tmp_path / 'alive'))} & wait"
    with pytest.raises(KubeflowError, match=r"did not end within 0\.2 s"):
        api(gateway, auth=by_command(script, timeout_seconds=0.2)).experiment_id()
    assert select.select([reader], [], [], 20)[0]
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_a_command_gets_no_input(gateway):
    with pytest.raises(KubeflowError, match="printed nothing"):
        api(gateway, auth=by_command("cat")).experiment_id()


@pytest.mark.parametrize("program", ["no-such-program", "/etc/passwd"])
def test_a_command_that_can_t_be_started_is_named(gateway, program):
    auth = {"headers": {"Cookie": {"command": [program]}}}
    with pytest.raises(UsageError, match=f"the command '{program}' .* can't be started"):
        api(gateway, auth=auth).experiment_id()


def test_a_variable_that_is_not_set_is_reported_before_any_request(gateway, monkeypatch):
    monkeypatch.setenv("KUBEFLOW_COOKIE", " ")
    with pytest.raises(UsageError, match="KUBEFLOW_COOKIE, which is not set"):
        api(gateway)
    assert gateway.refused == 0


def test_a_value_with_a_second_line_is_refused_before_any_request(gateway, monkeypatch):
    monkeypatch.setenv("KUBEFLOW_COOKIE", "secret-a\r\nX-Other: secret-b")
    with pytest.raises(UsageError, match=r"KUBEFLOW_COOKIE.* one line\. Received: 2 l") as raised:
        api(gateway)
    assert "secret" not in str(raised.value)


def test_a_token_with_a_second_line_is_refused_without_being_shown(gateway, monkeypatch, tmp_path):
    monkeypatch.setenv("KUBEFLOW_TOKEN", "secret-a\nsecret-b")
    (tmp_path / "token").write_text("secret-a\nsecret-b")
    in_file = {"kind": "service_account", "token_path": str(tmp_path / "token")}
    for auth in ({"kind": "token"}, in_file):
        with pytest.raises(UsageError, match="authorization must be one line") as raised:
            api(gateway, auth=auth).experiment_id()
        assert "secret" not in str(raised.value)


def test_a_value_that_the_server_repeats_is_hidden(gateway, server):
    kubeflow = api(gateway)
    echo = json.dumps({"message": f"bad cookie {COOKIE}={SESSION} in {SESSION}"}).encode()
    server.fail(400, body=echo)
    with pytest.raises(KubeflowError, match=r"400 .*bad cookie \[not shown\] in \[not") as raised:
        kubeflow.experiment_id()
    assert SESSION not in str(raised.value)


def test_an_error_page_that_is_not_utf_8_is_shown(gateway, server):
    server.fail(400, body=b"Gr\xfc\xdfe", content_type="text/plain; charset=latin-1")
    with pytest.raises(KubeflowError, match=r"400 .*: Gr"):
        api(gateway).experiment_id()


def test_no_value_is_logged(gateway, caplog, monkeypatch, capfd):
    caplog.set_level("DEBUG")
    api(gateway).experiment_id()
    monkeypatch.setenv("KUBEFLOW_COOKIE", EXPIRED)
    with pytest.raises(RefusedError):
        api(gateway).experiment_id()
    shown = caplog.text + "".join(capfd.readouterr())
    assert not any(secret in shown for secret in (SESSION, EXPIRED))
    credentials = Credentials(Auth.model_validate(BY_COOKIE))
    assert repr(credentials) == "Credentials(Cookie)"


def test_a_cookie_that_kfp_has_saved_for_another_host_is_not_sent(gateway, tmp_path, monkeypatch):
    context = {"namespace": "other", "client_authentication_cookie": f"{COOKIE}={SESSION}"}
    (tmp_path / "context.json").write_text(json.dumps(context))
    monkeypatch.setattr(Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    with pytest.raises(RefusedError, match="not signed in"):
        api(gateway, auth={}).experiment_id()


def run(settings: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["kubeflow", *arguments, "--settings", str(settings)])


def test_every_command_signs_in_and_none_prints_a_value(
    gateway, server, compiled, tmp_path, monkeypatch
):
    path = str(compiled.path)
    settings = write_settings(
        tmp_path,
        host=gateway.url,
        namespace=PROFILE,
        auth=BY_COOKIE,
        schedule={"cron": "0 0 3 * * *"},
    )
    commands = [
        ("submit", "--package", path, "--wait", "--poll", "0.05"),
        ("submit", "--package", path, "--no-cache", "--json"),
        ("schedule", "apply", "--package", path, "--poll", "0.05"),
        ("schedule", "list"),
        ("schedule", "pause"),
        ("schedule", "resume"),
        ("schedule", "delete", "--poll", "0.05"),
        ("runs", "list"),
        ("runs", "show"),
        ("runs", "wait", "--poll", "0.05"),
    ]
    for command in commands:
        done = run(settings, *command)
        assert done.exit_code == 0, done.output
        assert SESSION not in done.output + done.stderr
    assert gateway.refused == 0
    monkeypatch.setenv("KUBEFLOW_COOKIE", EXPIRED)
    for command in commands:
        denied = run(settings, *command)
        assert denied.exit_code == 1
        assert "not signed in" in " ".join(denied.stderr.split())
        assert EXPIRED not in denied.output + denied.stderr
    assert len(server.all("runs")) == 2


def test_a_command_on_the_command_line_and_its_error_output(gateway, tmp_path, capfd):
    settings = write_settings(tmp_path, host=gateway.url, namespace=PROFILE)
    code = "import sys; print('login expired', file=sys.stderr); sys.exit(4)"
    source = json.dumps({"command": [sys.executable, "-c", code]})
    failed = run(settings, "runs", "list", "--set", f"kubeflow.auth.headers.Cookie={source}")
    assert failed.exit_code == 1
    assert "failed (exit code 4)" in " ".join(failed.stderr.split())
    assert "login expired" in capfd.readouterr().err
