"""Checks the options of Beam's runners before anything starts, without importing Beam.

Only what a runner can't do without is checked, and options whose values have one form. Beam checks
the others when the first component starts.
"""

import difflib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

IN_PROCESS_RUNNER = "FnApiRunner"
PRISM, PORTABLE, FLINK, SPARK, DATAFLOW = (
    f"{name}Runner" for name in ("Prism", "Portable", "Flink", "Spark", "Dataflow")
)
RUNNERS = (IN_PROCESS_RUNNER, "DirectRunner", PRISM, PORTABLE, FLINK, SPARK, DATAFLOW)
"""The runners that are known; any other is given by the full name of its class."""

ENVIRONMENTS = ("DOCKER", "EXTERNAL", "LOOPBACK", "PROCESS")

_IMAGE = ("sdk_container_image", "worker_harness_container_image")
_PACKAGES = ("extra_package", "extra_packages", "requirements_file", "setup_file", *_IMAGE)
_ADDRESS = re.compile(r"((https?|spark)://)?([^\s/:]+|\[[\da-fA-F:.]+\]):\d{1,5}/?")
_OWN_MASTER = ("[local]", "[auto]", "[collection]")
_THIS_MACHINE = ("localhost", "127.0.0.1", "[::1]")
_COUNTS = (
    *("direct_num_workers", "max_num_workers", "num_workers", "parallelism", "max_parallelism"),
    *("job_server_timeout", "sdk_worker_parallelism", "disk_size_gb"),
)
_CHOICES = MappingProxyType(
    {
        "direct_running_mode": ("in_memory", "multi_threading", "multi_processing"),
        "flink_version": ("1.19", "1.20", "2.0", "2.1", "2.2"),
        "spark_version": ("3",),
    }
)
_OTHER_NAMES = MappingProxyType({"environment_option": "environment_options"})
# May be given several times; each adds to the others.
_REPEATED = frozenset({"environment_options"})
# Beam drops an option that it does not know with a line in the log: these are looked for there.
_NAMES = frozenset(
    {
        *_COUNTS,
        *_CHOICES,
        *_REPEATED,
        *_OTHER_NAMES,
        *_PACKAGES,
        *("artifact_endpoint", "environment_config", "environment_type", "job_endpoint"),
        "job-server-timeout",
        *("flink_job_server_jar", "flink_master", "flink_submit_uber_jar", "prism_location"),
        *("spark_job_server_jar", "spark_master_url", "spark_rest_url", "spark_submit_uber_jar"),
        *("project", "region", "temp_location", "staging_location", "service_account_email"),
        *("machine_type", "worker_machine_type", "network", "subnetwork", "worker_zone"),
    }
)
_MACHINE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")
# From this similarity on an unknown name is a misspelt one; Beam's own names are less similar.
_NEARLY = 0.88

WRITTEN = frozenset(
    {
        *("artifacts_dir", "dataflow_job_file", "jar_cache_dir", "output_executable_path"),
        *("profile_location", "staging_location", "temp_location", "template_location"),
    }
)
"""The options whose values are files and folders that Beam writes to."""

_JAVA = "java"
# A module that workers import first which an engine starts.
_WORKER_SETUP = "pipeline.worker_setup"

Options = Mapping[str, str]


def check_runner(runner: str) -> str:
    """Returns the name of a runner.

    Raises:
      ValueError: it is neither known nor the full name of a class.
    """
    if runner in RUNNERS or "." in runner:
        return runner
    near = difflib.get_close_matches(runner, RUNNERS, n=1)
    hint = f"; did you mean {near[0]}" if near else ""
    raise ValueError(
        f"must be one of {', '.join(RUNNERS)}, or the full name of a runner's class{hint}"
    )


def check(runner: str, options: Sequence[str]) -> None:
    """Checks the options of a runner.

    Args:
      runner: its name.
      options: of Beam, without `--runner`.

    Raises:
      ValueError: one is missing, or has a value that can't be used; the message names it.
    """
    given = parsed(options)
    if "runner" in given:
        raise ValueError("must not contain --runner; set beam.runner instead")
    if runner in RUNNERS:  # those of a user's class are not known
        for name in given:
            _check_spelling(name)
    for name in _COUNTS:
        if name in given and not re.fullmatch(r"-1|\d+", given[name]):
            raise _wrong(name, "must be a whole number", given)
    for name, choices in _CHOICES.items():
        if name in given and given[name] not in choices:
            raise _wrong(name, f"must be one of {', '.join(choices)}", given)
    if checked := _CHECKS.get(runner):
        checked(given)


def parsed(options: Sequence[str]) -> dict[str, str]:
    """Returns the values of options by their names; empty for one without a value.

    Args:
      options: `--name=value` or `--name`; the value may also be the next item.

    Raises:
      ValueError: an item does not start with `--` and is not a value.
    """
    found: dict[str, str] = {}
    last = ""
    for option in options:
        if option.startswith("--"):
            name, has_value, value = option.removeprefix("--").partition("=")
            last = "" if has_value else name
        elif last:
            name, value, last = last, option, ""
        else:
            raise ValueError(f"must contain options as --name=value. Received: {option!r}")
        name = _OTHER_NAMES.get(name, name)
        before = found.get(name) if name in _REPEATED else ""
        found[name] = f"{before},{value}" if before else value
    return found


def endpoints(options: Sequence[str]) -> dict[str, str]:
    """Returns the addresses, with a port, that this machine connects to in order to start a job.

    Args:
      options: with `--runner`.

    Returns:
      Those of the job server, else of the engine to which a job server submits that Beam starts
      here, by the option that names each.
    """
    given = parsed(options)
    if given.get("job_endpoint"):
        found = {name: given.get(name, "") for name in ("job_endpoint", "artifact_endpoint")}
    else:
        name = {FLINK: "flink_master", SPARK: "spark_master_url"}.get(given.get("runner", ""), "")
        found = {name: given.get(name, "")}
    return {name: address for name, address in found.items() if _ADDRESS.fullmatch(address)}


def java_launcher(options: Sequence[str]) -> str:
    """Returns the program with which Beam starts a job server; empty: it starts none.

    Args:
      options: with `--runner`.
    """
    given = parsed(options)
    if given.get("runner") not in (FLINK, SPARK) or given.get("job_endpoint"):
        return ""
    if given.keys() & {"flink_submit_uber_jar", "spark_submit_uber_jar"}:
        return ""
    return given.get("job_server_java_launcher") or _JAVA


def beam_args(runner: str, options: Sequence[str]) -> list[str]:
    """Returns the options of every Beam component.

    Args:
      runner: its name.
      options: as `check` takes them.
    """
    args = [f"--runner={runner}", *options]
    given = parsed(options)
    image = _image(given)
    if not given.keys() & set(_PACKAGES):
        # Otherwise TFX spends two seconds per component on a package of itself for the workers.
        # They have all that is needed, or are made from this image; the others ignore it.
        args.append(f"--sdk_container_image={image or 'none'}")
    in_containers = (_kind(given) or _default_kind(runner, given)) == "DOCKER"
    if in_containers and image and not given.get("environment_config"):
        # Beam's portable runners take the image from here only, and else start Beam's own.
        args += ["--environment_type=DOCKER", f"--environment_config={image}"]
    if in_containers or _kind(given) == "PROCESS" or runner == DATAFLOW:
        args.append(f"--beam_plugin={_WORKER_SETUP}")
    return args


def image_workers(runner: str, options: Sequence[str], workers: int | str) -> str:
    """Returns the option for the number of processes in which a worker decodes images.

    Args:
      runner: its name.
      options: as `check` takes them.
      workers: the number, or `auto`.
    """
    is_single = runner == IN_PROCESS_RUNNER and "direct_num_workers" not in parsed(options)
    return f"--image_workers={workers if is_single or workers != 'auto' else 1}"


def _image(given: Options) -> str:
    """Returns the image of workers in containers; empty: it is not given, or not used."""
    if _kind(given) not in ("", "DOCKER"):
        return ""
    name = re.search(r"docker_container_image=([^,]+)", given.get("environment_options", ""))
    of_type = given.get("environment_config", "") if _kind(given) else ""
    return of_type or (name[1] if name else "") or next(filter(None, map(given.get, _IMAGE)), "")


def _default_kind(runner: str, given: Options) -> str:
    """Returns the environment of the workers if --environment_type is not given."""
    if runner == PRISM:
        return "LOOPBACK"
    if runner not in (PORTABLE, FLINK, SPARK):
        return ""
    own = {
        FLINK: given.get("flink_master", "[auto]") in _OWN_MASTER,
        SPARK: given.get("spark_master_url", "local").startswith("local"),
    }
    return "LOOPBACK" if own.get(runner) and "job_endpoint" not in given else "DOCKER"


def _wrong(name: str, problem: str, given: Options) -> ValueError:
    return ValueError(f"--{name} {problem}. Received: {given.get(name)!r}")


def _check_spelling(name: str) -> None:
    if name in _NAMES:
        return
    for near in difflib.get_close_matches(name, _NAMES, n=1, cutoff=_NEARLY):
        raise ValueError(
            f"must not contain --{name}, which Beam does not know; did you mean --{near}"
        )


def _check_jar(name: str, given: Options) -> None:
    jar = given.get(name)
    if jar is not None and "://" not in jar and not os.path.isfile(jar):
        raise _wrong(
            name, "must be the file or the URL of Beam's job server for this engine", given
        )


def _check_near(name: str, address: str, given: Options) -> None:
    """Checks that the engine is on this machine if the workers are in this process."""
    host = address.rpartition("://")[2].rpartition(":")[0]
    if _kind(given) == "LOOPBACK" and host not in _THIS_MACHINE:
        raise ValueError(
            f"must not contain --environment_type=LOOPBACK with --{name} on another machine, which "
            "can't reach workers in this process; use --environment_type=EXTERNAL with a worker "
            f"pool beside the engine's own workers. Received: {given[name]!r}"
        )


def _check_job_server(given: Options) -> None:
    for name in ("job_endpoint", "artifact_endpoint"):
        if given.get(name) == "embed":
            continue
        _check_address(name, given)
    if given.get("job_endpoint", "embed") != "embed":
        _check_near("job_endpoint", given["job_endpoint"], given)


def _require(name: str, given: Options, runner: str, example: str) -> None:
    if not given.get(name):
        raise ValueError(f"must contain --{name} for {runner}, such as --{name}={example}")


def _check_address(name: str, given: Options, *, schemes: Sequence[str] = ()) -> None:
    if name in given:
        scheme, has_scheme, _ = given[name].partition("://")
        if not _ADDRESS.fullmatch(given[name]) or (has_scheme and scheme not in schemes):
            raise _wrong(name, "must be host:port", given)


def _kind(given: Options) -> str:
    return given.get("environment_type", "").upper()


def _check_workers(given: Options, runner: str) -> None:
    """Checks where the workers get the project's code from."""
    kind = _kind(given) or _default_kind(runner, given)
    if "environment_type" in given and kind not in ENVIRONMENTS and ":" not in kind:
        raise _wrong("environment_type", f"must be one of {', '.join(ENVIRONMENTS)}", given)
    if kind == "EXTERNAL" and "external_service_address" not in given.get(
        "environment_options", ""
    ):
        _require("environment_config", given, "--environment_type=EXTERNAL", "localhost:50000")
        _check_address("environment_config", given)
    if kind == "PROCESS" and "process_command" not in given.get("environment_options", ""):
        example = """'{"command": "/opt/apache/beam/boot"}'"""
        _require("environment_config", given, "--environment_type=PROCESS", example)
    if kind == "DOCKER" and not _image(given):
        raise ValueError(
            f"must contain --sdk_container_image=IMAGE for {runner}, with the image of the steps: "
            "Beam's own has no code of this project. Workers that run already are used with "
            "--environment_type=EXTERNAL --environment_config=host:port"
        )


def _check_prism(given: Options) -> None:
    location = given.get("prism_location")
    if location and "://" not in location and not os.path.isfile(location):
        raise _wrong("prism_location", "must be the program, which `make engines` fetches", given)
    _check_job_server(given)
    _check_workers(given, PRISM)


def _check_portable(given: Options) -> None:
    _require("job_endpoint", given, PORTABLE, "localhost:8099")
    _check_job_server(given)
    _check_workers(given, PORTABLE)


def _check_flink(given: Options) -> None:
    master = given.get("flink_master", "[auto]")
    if master not in _OWN_MASTER:
        _check_address("flink_master", given, schemes=("http", "https"))
        _check_near("flink_master", master.rstrip("/"), given)
    _check_jar("flink_job_server_jar", given)
    _check_job_server(given)
    _check_workers(given, FLINK)


def _check_spark(given: Options) -> None:
    master = given.get("spark_master_url", "local[4]")
    if not re.match(r"(spark|k8s|mesos)://|local(\[.+\])?$|yarn$", master):
        raise _wrong("spark_master_url", "must be local[N], yarn or spark://host:port", given)
    if "spark_submit_uber_jar" in given:
        _require("spark_rest_url", given, "--spark_submit_uber_jar", "http://spark-master:6066")
    if not master.startswith("local"):
        _check_near("spark_master_url", master, given)
    _check_jar("spark_job_server_jar", given)
    _check_job_server(given)
    _check_workers(given, SPARK)


_GOOGLE_FORMS = MappingProxyType(
    {
        "project": (re.compile(r"([a-z][-.a-z0-9]*:)?[a-z][-a-z0-9]{4,28}[a-z0-9]"), "my-project"),
        "region": (re.compile(r"[a-z]+(-[a-z]+)+\d+"), "europe-west4"),
        "worker_zone": (re.compile(r"[a-z]+(-[a-z]+)+\d+-[a-z]"), "europe-west4-a"),
        "machine_type": (_MACHINE, "n2-standard-8"),
        "worker_machine_type": (_MACHINE, "n2-standard-8"),
        "service_account_email": (
            re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+"),
            "name@project.iam.gserviceaccount.com",
        ),
    }
)


def _check_dataflow(given: Options) -> None:
    for name, example in (
        ("project", "my-project"),
        ("region", "europe-west4"),
        ("temp_location", "gs://bucket/temp"),
    ):
        _require(name, given, DATAFLOW, example)
    for name in ("temp_location", "staging_location"):
        if name in given and not given[name].startswith("gs://"):
            raise _wrong(name, "must start with gs://", given)
    for name, (form, example) in _GOOGLE_FORMS.items():
        if name in given and not form.fullmatch(given[name]):
            raise _wrong(name, f"must have the form of {example}", given)
    if not any(map(given.get, _IMAGE)):
        raise ValueError(
            f"must contain --sdk_container_image=IMAGE for {DATAFLOW}, with the image of the "
            "steps: Beam's own has no code of this project"
        )


_CHECKS: Mapping[str, Callable[[Options], None]] = MappingProxyType(
    {
        PRISM: _check_prism,
        PORTABLE: _check_portable,
        FLINK: _check_flink,
        SPARK: _check_spark,
        DATAFLOW: _check_dataflow,
    }
)
