"""The gateway makes the model server serve the version to which the registry points."""

import asyncio
import contextlib
import itertools
import json
import shutil
from pathlib import Path

import pytest
from config_polling import ConfigPollingStandIn
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gateway_under_test import free_port, running, wait_until, write_rules
from images_of_each_kind import IMAGES
from stores_on_localhost import amazon, google

from components.images.rules import ASSETS, ReadingRules
from components.registry import VersionRecord, open_registry
from components.stores import StoreError, store_of
from gateway.metrics import FaultReason, Metrics
from gateway.model_config import config_without_models
from gateway.pointer import ServingPointer
from gateway.settings import Settings, SettingsError, from_environment
from gateway.upstream import Versions

IMAGE = IMAGES["jpeg"]
STORES = {"s3": amazon, "gs": google}


@pytest.fixture(scope="module")
def buckets():
    """The environment of each store, which has a bucket `models`."""
    with contextlib.ExitStack() as stack:
        yield {scheme: stack.enter_context(make("models")) for scheme, make in STORES.items()}


@pytest.fixture(params=["volume", "s3", "gs"])
def root(request, buckets, tmp_path, monkeypatch):
    """An empty registry, in a folder and in each kind of bucket."""
    if request.param == "volume":
        return str(tmp_path / "registry")
    for name, value in buckets[request.param].items():
        monkeypatch.setenv(name, value)
    return f"{request.param}://models/{tmp_path.name}"


@pytest.fixture
def bucket(buckets, tmp_path, monkeypatch):
    """An empty registry in a bucket."""
    for name, value in buckets["gs"].items():
        monkeypatch.setenv(name, value)
    return f"gs://models/{tmp_path.name}"


@pytest.fixture
def folder(tmp_path):
    """A registry in a folder."""
    return str(tmp_path / "registry")


@pytest.fixture
def model_server(tmp_path):
    """A model server that follows the config `models.config`."""
    found = ConfigPollingStandIn(tmp_path / "models.config")
    found.start()
    yield found
    found.stop()


@contextlib.contextmanager
def serving(root, model_server, tmp_path, **settings):
    """Runs a gateway in front of the model server, and gives its client at once."""
    models = tmp_path / "models" if "://" in root else None
    if models:
        models.mkdir(exist_ok=True)
    with running(
        root,
        model_server.target,
        await_ready=False,
        models=models,
        model_config=tmp_path / "models.config",
        **settings,
    ) as client:
        yield client


def push(root, tmp_path, text, *, rules=True, blessed=True):
    """Pushes a model whose graph is a text."""
    model = tmp_path / "model"
    shutil.rmtree(model, ignore_errors=True)
    (model / ASSETS).mkdir(parents=True)
    (model / "saved_model.pb").write_text(text)
    if rules:
        found = ReadingRules(image_size=32, pixel_range=(0.0, 1.0), max_side=40)
        (model / ASSETS / "reading_rules.json").write_text(found.to_json())
    open_registry(root).push(model, lambda number: VersionRecord(version=number, blessed=blessed))


def serves(client, version):
    response = client.post("/predict", IMAGE)
    return response.status == 200 and response.headers["X-Model-Version"] == str(version)


def wait_for(client, version):
    wait_until(lambda: serves(client, version), f"version {version}")


def wait_for_look_ups(model_server):
    calls = model_server.status_calls
    wait_until(lambda: model_server.status_calls > calls + 4, "look-ups")


def wait_for_fault(client, reason):
    wait_until(lambda: fault(client, reason), f"fault {reason}")


def fault(client, reason):
    return client.metric(f'registry_fault{{reason="{reason}"}}')


def pointer(client):
    return client.metric("registry_version")


def versions_in(configs):
    """The versions of configs, in order."""
    return [
        version
        for config in configs
        for model in config.model_config_list.config
        for version in model.model_version_policy.specific.versions
    ]


def copies(tmp_path):
    return {path.name for path in (tmp_path / "models").iterdir() if path.name.isdecimal()}


def key_files(folder):
    """Writes a new pair of keys; returns the files of the private and the public key."""
    key = Ed25519PrivateKey.generate()
    private, public = folder / "private.pem", folder / "public.pem"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(pem, info))
    return private, public


def read(root, name):
    """Returns the content of a file of a registry."""
    store = store_of(root)
    return store.read(f"{root}/{name}") if store else Path(root, name).read_bytes()


def write(root, name, content):
    """Replaces a file of a registry, whatever it is."""
    if store := store_of(root):
        store.write(f"{root}/{name}", content)
    else:
        hidden = Path(root, f".{name.replace('/', '-')}")
        hidden.write_bytes(content)
        hidden.replace(Path(root, name))


def point_at(root, version):
    """Makes the registry point at a version, without the checks of a promotion."""
    write(root, "registry.json", json.dumps({**state(root), "serving": version}).encode())


def state(root):
    return json.loads(read(root, "registry.json"))


def test_pushes_and_a_rollback_are_followed_by_the_pointer_alone(root, model_server, tmp_path):
    with serving(root, model_server, tmp_path) as client:
        wait_until(lambda: client.get("/readyz").status == 503, "answer")
        push(root, tmp_path, "one")
        wait_for(client, 1)
        push(root, tmp_path, "two")
        wait_for(client, 2)
        open_registry(root).rollback()
        wait_for(client, 1)
        assert client.get("/readyz").status == 200
        assert pointer(client) == client.metric("model_version") == 1
    assert versions_in(model_server.configs) == [1, 2, 1]


def test_a_damaged_version_is_not_configured_until_it_is_intact(
    root, model_server, tmp_path, caplog
):
    push(root, tmp_path, "one")
    push(root, tmp_path, "two", blessed=False)
    content = read(root, "2/saved_model.pb")
    with serving(root, model_server, tmp_path) as client:
        wait_for(client, 1)
        write(root, "2/saved_model.pb", b"X" + content[1:])
        point_at(root, 2)
        wait_for_fault(client, "refused")
        assert serves(client, 1)
        assert client.get("/readyz").status == 200
        assert (pointer(client), client.metric("model_version")) == (2, 1)
        assert versions_in(model_server.configs) == [1]
        assert "saved_model.pb" in caplog.text
        write(root, "2/saved_model.pb", content)
        wait_for(client, 2)
        assert not fault(client, "refused")


def test_copies_are_removed_once_the_model_server_has_unloaded_them(bucket, model_server, tmp_path):
    push(bucket, tmp_path, "one")
    with serving(bucket, model_server, tmp_path) as client:
        wait_for(client, 1)
        model_server.loads = False
        push(bucket, tmp_path, "two")
        wait_until(lambda: 2 in model_server.versions, "version 2 in the model server")
        wait_for_look_ups(model_server)
        assert copies(tmp_path) == {"1", "2"}
        assert serves(client, 1)
        model_server.keeps, model_server.loads = True, True
        wait_for(client, 2)
        wait_for_look_ups(model_server)
        assert copies(tmp_path) == {"1", "2"}
        model_server.keeps = False
        wait_until(lambda: copies(tmp_path) == {"2"}, "removal of version 1")


def test_what_a_killed_gateway_has_copied_in_part_is_not_served(bucket, model_server, tmp_path):
    push(bucket, tmp_path, "one")
    partial = tmp_path / "models" / ".incoming"
    (partial / "1").mkdir(parents=True)
    (partial / "1" / "saved_model.pb").write_text("on")
    (partial / "saved_model.pb").write_text("on")
    with serving(bucket, model_server, tmp_path) as client:
        wait_for(client, 1)
    assert (tmp_path / "models" / "1" / "saved_model.pb").read_text() == "one"


def test_a_gateway_that_starts_again_serves_its_copy_also_if_the_pointer_is_damaged(
    bucket, model_server, tmp_path
):
    push(bucket, tmp_path, "one")
    for _ in range(2):
        with serving(bucket, model_server, tmp_path) as client:
            wait_for(client, 1)
            wait_until(lambda: pointer(client) == 1, "pointer")
            wait_for_look_ups(model_server)
            assert not fault(client, "unreachable")
    write(bucket, "registry.json", b"{")
    with serving(bucket, model_server, tmp_path) as client:
        wait_for(client, 1)
        wait_for_fault(client, "refused")
        assert client.get("/readyz").status == 200


def test_an_unsigned_version_is_not_served_where_a_key_is_set(
    root, model_server, tmp_path, monkeypatch, caplog
):
    keys = key_files(tmp_path)
    monkeypatch.setenv("OUTNUMBERED_VERIFY_KEY", str(keys[1]))
    push(root, tmp_path, "unsigned")
    with serving(root, model_server, tmp_path) as client:
        wait_until(lambda: b"(refused)" in client.get("/readyz").body, "reason")
        assert client.get("/readyz").status == 503
        assert "not signed" in caplog.text
        assert not versions_in(model_server.configs)
        monkeypatch.setenv("OUTNUMBERED_SIGNING_KEY", str(keys[0]))
        push(root, tmp_path, "signed")
        wait_for(client, 2)


def test_a_file_that_was_added_to_a_signed_version_keeps_it_from_being_served(
    root, model_server, tmp_path, monkeypatch, caplog
):
    private, public = key_files(tmp_path)
    monkeypatch.setenv("OUTNUMBERED_SIGNING_KEY", str(private))
    monkeypatch.setenv("OUTNUMBERED_VERIFY_KEY", str(public))
    push(root, tmp_path, "one")
    push(root, tmp_path, "two", blessed=False)
    write(root, "2/added.txt", b"not by whoever signed the version")
    with serving(root, model_server, tmp_path) as client:
        wait_for(client, 1)
        point_at(root, 2)
        wait_for_fault(client, "refused")
        assert "added.txt is not in files.json, so it is not signed" in caplog.text
        assert serves(client, 1)
    assert versions_in(model_server.configs) == [1]


POLL_SECONDS = 30.0


class NoModelServer:
    """A model server that has not loaded anything yet."""

    async def versions(self):
        return Versions()


class Followed:
    """A pointer that is looked up by a clock of its own, and what it fetches."""

    def __init__(self, root, tmp_path, monkeypatch):
        self.now, self.fetched = 0.0, []
        registry = open_registry(root)
        fetch = registry.fetch

        def counted(version, folder):
            self.fetched.append((self.now, version))
            return fetch(version, folder)

        monkeypatch.setattr(registry, "fetch", counted)
        (tmp_path / "models").mkdir()
        config = tmp_path / "models.config"
        settings = Settings(
            registry=root,
            upstream="unix:/nowhere",
            models=tmp_path / "models" if "://" in root else None,
            model_config=config,
            registry_poll_seconds=POLL_SECONDS,
        )
        self.pointer = ServingPointer(
            *(registry, NoModelServer(), settings, config, Metrics()), clock=lambda: self.now
        )

    def follow_for(self, seconds):
        """Looks the pointer up as often as the gateway does; returns the faults."""
        end, faults = self.now + seconds, set()
        while self.now < end:
            asyncio.run(self.pointer.refresh())
            faults.add(self.pointer.fault and self.pointer.fault.reason)
            self.now += POLL_SECONDS
        return faults

    def times(self, version):
        return [at for at, fetched in self.fetched if fetched == version]


@pytest.fixture
def followed(bucket, tmp_path, monkeypatch):
    """The pointer of a registry whose version 1 is intact, and which points to a damaged one."""
    push(bucket, tmp_path, "one")
    found = Followed(bucket, tmp_path, monkeypatch)
    assert found.follow_for(1) == {None}
    push(bucket, tmp_path, "two")
    write(bucket, "2/saved_model.pb", b"damaged")
    return found


def test_a_refused_version_is_read_again_after_pauses_that_double_up_to_an_hour(followed):
    start = followed.now
    assert followed.follow_for(4 * 3600) == {FaultReason.REFUSED}
    times = [at - start for at in followed.times(2)]
    assert times[:8] == [0, 30, 90, 210, 450, 930, 1890, 3810]
    assert {later - at for at, later in itertools.pairwise(times[7:])} == {3600}
    assert followed.pointer.configured == 1


def test_a_refused_version_that_is_repaired_is_served_after_the_pause(bucket, followed):
    content = read(bucket, "1/saved_model.pb").replace(b"one", b"two")
    followed.follow_for(300)
    write(bucket, "2/saved_model.pb", content)
    assert followed.follow_for(120) == {FaultReason.REFUSED}
    assert followed.follow_for(120) == {FaultReason.REFUSED, None}
    assert followed.pointer.configured == 2


def test_a_pointer_that_moves_ends_the_pause(bucket, followed, tmp_path):
    followed.follow_for(3600)
    open_registry(bucket).rollback(to=1)
    assert followed.follow_for(30) == {None}
    before = len(followed.times(2))
    point_at(bucket, 2)
    assert followed.follow_for(90) == {FaultReason.REFUSED}
    assert len(followed.times(2)) == before + 2, "at once, and after the first pause"
    push(bucket, tmp_path, "three")
    assert followed.follow_for(30) == {None}
    assert followed.pointer.configured == 3


def test_a_version_without_reading_rules_is_read_again_after_pauses_too(
    folder, tmp_path, monkeypatch
):
    push(folder, tmp_path, "one", rules=False)
    followed = Followed(folder, tmp_path, monkeypatch)
    assert followed.follow_for(600) == {FaultReason.RULES}
    assert followed.times(1) == [0, 30, 90, 210, 450]


def test_a_version_that_could_not_be_read_is_tried_again_at_each_look_up(
    bucket, followed, monkeypatch
):
    def unreachable(*_):
        raise StoreError("the store does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(type(store_of(bucket)), "download", unreachable)
        assert followed.follow_for(600) == {FaultReason.UNREACHABLE}
    assert len(followed.times(2)) == 600 / POLL_SECONDS


def test_a_damaged_pointer_leaves_the_version_that_is_served(folder, model_server, tmp_path):
    push(folder, tmp_path, "one")
    with serving(folder, model_server, tmp_path) as client:
        wait_for(client, 1)
        content = read(folder, "registry.json")
        write(folder, "registry.json", content[:20])
        wait_for_fault(client, "refused")
        assert serves(client, 1)
        write(folder, "registry.json", content)
        wait_until(lambda: not fault(client, "refused"), "end of the fault")


def test_a_store_that_does_not_answer_leaves_the_version_that_is_served(
    buckets, model_server, tmp_path, monkeypatch
):
    for name, value in buckets["s3"].items():
        monkeypatch.setenv(name, value)
    root = f"s3://models/{tmp_path.name}"
    push(root, tmp_path, "one")
    with serving(root, model_server, tmp_path) as client:
        wait_for(client, 1)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
        wait_for_fault(client, "unreachable")
        assert serves(client, 1)
        assert client.get("/readyz").status == 200


def test_a_version_without_reading_rules_is_not_configured(folder, model_server, tmp_path):
    push(folder, tmp_path, "one")
    with serving(folder, model_server, tmp_path) as client:
        wait_for(client, 1)
        push(folder, tmp_path, "two", rules=False)
        wait_for_fault(client, "rules")
        assert serves(client, 1)
        assert versions_in(model_server.configs) == [1]


def test_a_version_that_the_model_server_cannot_load_leaves_the_one_before_in_the_config(
    root, model_server, tmp_path
):
    model_server.unloadable = {2}
    push(root, tmp_path, "one")
    with serving(root, model_server, tmp_path) as client:
        wait_for(client, 1)
        push(root, tmp_path, "two")
        wait_for_fault(client, "load")
        wait_until(lambda: versions_in(model_server.configs) == [1, 2, 1], "the config before")
        assert serves(client, 1)
        assert pointer(client) == 2
        push(root, tmp_path, "three")
        wait_for(client, 3)
        assert not fault(client, "load")


def test_a_registry_of_an_earlier_release_serves_its_newest_version(folder, model_server, tmp_path):
    for version in (1, 2):
        write_rules(Path(folder), version, max_side=40)
        Path(folder, str(version), "saved_model.pb").write_text("graph")
    with serving(folder, model_server, tmp_path) as client:
        wait_for(client, 2)
        assert pointer(client) == 2


def test_the_config_is_written_again_if_it_is_lost(folder, model_server, tmp_path):
    push(folder, tmp_path, "one")
    with serving(folder, model_server, tmp_path) as client:
        wait_for(client, 1)
        config = tmp_path / "models.config"
        text = config.read_text()
        config.write_text(config_without_models())  # as when the pod is created again
        wait_until(lambda: config.read_text() == text, "the config")


def test_the_configured_version_is_served_while_a_newer_one_is_still_loaded(
    folder, model_server, tmp_path
):
    push(folder, tmp_path, "one")
    with serving(folder, model_server, tmp_path) as client:
        wait_for(client, 1)
        push(folder, tmp_path, "two")
        wait_for(client, 2)
        model_server.keeps = True
        open_registry(folder).rollback()
        wait_for(client, 1)
        assert set(model_server.versions) == {1, 2}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"registry": "ftp://models"}, "must be a folder, s3://"),
        ({"registry": "gs://models", "models": "/models"}, "MODEL_CONFIG are required"),
        ({"registry": "gs://models", "model_config": "/config"}, "MODELS and"),
        ({"registry": "/registry", "models": "/models"}, "for a registry in a bucket only"),
    ],
)
def test_settings_that_do_not_match_are_refused(changed, words):
    environment = {f"OUTNUMBERED_GATEWAY_{key.upper()}": value for key, value in changed.items()}
    with pytest.raises(SettingsError, match=words):
        from_environment({"OUTNUMBERED_GATEWAY_UPSTREAM": "unix:/a", **environment})
