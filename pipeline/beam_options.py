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
_ADDRESS = re.compile(r"(https?://)?[^\s/:]+:\d{1,5}/?")
_OWN_MASTER = ("[local]", "[auto]", "[collection]")
_COUNTS = ("direct_num_workers", "max_num_workers", "num_workers", "parallelism")

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
    for name in _COUNTS:
        if name in given and not re.fullmatch(r"-1|\d+", given[name]):
            raise _wrong(name, "must be a whole number", given)
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
            found[name], last = value, "" if has_value else name
        elif last:
            found[last], last = option, ""
        else:
            raise ValueError(f"must contain options as --name=value. Received: {option!r}")
    return found


def beam_args(runner: str, options: Sequence[str]) -> list[str]:
    """Returns the options of every Beam component.

    Args:
      runner: its name.
      options: as `check` takes them.
    """
    args = [f"--runner={runner}", *options]
    given = parsed(options)
    if not given.keys() & set(_PACKAGES):
        # Otherwise TFX spends two seconds per component on a package of itself for the workers.
        # They have all that is needed, or are made from this image; the others ignore it.
        image = given.get("environment_config") if _kind(given) == "DOCKER" else ""
        args.append(f"--sdk_container_image={image or 'none'}")
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


def _wrong(name: str, problem: str, given: Options) -> ValueError:
    return ValueError(f"--{name} {problem}. Received: {given.get(name)!r}")


def _require(name: str, given: Options, runner: str, example: str) -> None:
    if not given.get(name):
        raise ValueError(f"must contain --{name} for {runner}, such as --{name}={example}")


def _check_address(name: str, given: Options) -> None:
    if name in given and not _ADDRESS.fullmatch(given[name]):
        raise _wrong(name, "must be host:port", given)


def _kind(given: Options) -> str:
    return given.get("environment_type", "").upper()


def _check_workers(given: Options, runner: str, default: str) -> None:
    """Checks where the workers get the project's code from."""
    kind = _kind(given) or default
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
    if kind == "DOCKER" and not any(map(given.get, ("environment_config", *_IMAGE))):
        raise ValueError(
            f"must contain --sdk_container_image=IMAGE for {runner}, with the image of the steps: "
            "Beam's own has no code of this project. Workers that run already are used with "
            "--environment_type=EXTERNAL --environment_config=host:port"
        )


def _check_prism(given: Options) -> None:
    location = given.get("prism_location")
    if location and "://" not in location and not os.path.isfile(location):
        raise _wrong("prism_location", "must be the program, which `make engines` fetches", given)
    _check_address("job_endpoint", given)
    _check_workers(given, PRISM, "LOOPBACK")


def _check_portable(given: Options) -> None:
    _require("job_endpoint", given, PORTABLE, "localhost:8099")
    if given["job_endpoint"] != "embed":
        _check_address("job_endpoint", given)
    _check_workers(given, PORTABLE, "DOCKER")


def _check_flink(given: Options) -> None:
    master = given.get("flink_master", "[auto]")
    own = master in _OWN_MASTER
    if not own:
        _check_address("flink_master", given)
    _check_address("job_endpoint", given)
    _check_workers(given, FLINK, "LOOPBACK" if own and "job_endpoint" not in given else "DOCKER")


def _check_spark(given: Options) -> None:
    master = given.get("spark_master_url", "local[4]")
    if not re.match(r"(spark|k8s|mesos)://|local(\[.+\])?$|yarn$", master):
        raise _wrong("spark_master_url", "must be local[N], yarn or spark://host:port", given)
    _check_address("job_endpoint", given)
    own = master.startswith("local") and "job_endpoint" not in given
    _check_workers(given, SPARK, "LOOPBACK" if own else "DOCKER")


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
