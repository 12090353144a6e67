"""The section `kubeflow` of the settings: where and how the pipeline runs on a cluster."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from components.paths import LocalPath, literal
from components.section import Count, Number, PositiveCount, Section, matching

# Schemes that the launcher of Kubeflow Pipelines maps to local folders.
LAUNCHER_SCHEMES = ("gs", "s3", "minio")
# Beginnings of the variables with an object store's credentials, and the schemes that read them.
STORE_VARIABLES = {"AWS_": ("s3", "minio"), "GOOGLE_": ("gs",)}
# What follows the image's name in a reference by digest.
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

Quantity = Annotated[
    str,
    matching(
        r"\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?", "a Kubernetes quantity, such as 2, 500m or 8Gi"
    ),
]
DnsLabel = Annotated[
    str,
    matching(
        r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        "a Kubernetes name: up to 63 lower-case letters, digits and -, starting and ending with a "
        "letter or a digit",
    ),
]
DnsSubdomain = Annotated[
    str,
    matching(
        r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?",
        "a Kubernetes name: up to 253 lower-case letters, digits, - and ., starting and ending "
        "with a letter or a digit",
    ),
]


def _tagged(image: str) -> str:
    name, at, digest = image.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise ValueError("the digest of an image must be sha256: and 64 hex digits")
    tag = digest or name.rpartition("/")[2].partition(":")[2]
    if not tag or tag == "latest":
        raise ValueError(
            "an image must have a digest or a tag other than latest, such as "
            "registry.example.com/outnumbered:1.0.0, so that a run can be repeated"
        )
    if re.search(r"\s", image):
        raise ValueError("an image must not contain spaces")
    return image


Image = Annotated[str, AfterValidator(_tagged)]


# Labels by which the project, Kubeflow Pipelines and Argo tell pods apart.
STEP_LABEL = "outnumbered-step"
"""Label of the pods of each step; its value is the name of the step."""
_RESERVED_LABELS = (STEP_LABEL, "pipelines.kubeflow.org/", "pipeline/", "workflows.argoproj.io/")
_LABEL = r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)"
_LABEL_PREFIX = r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?"


def _not_reserved(key: str) -> str:
    for reserved in _RESERVED_LABELS:
        if key == reserved or (reserved.endswith("/") and key.startswith(reserved)):
            raise ValueError(
                f"must not be {reserved}, which is set for each step. Received: {key!r}"
            )
    return key


NodeLabelKey = Annotated[
    str,
    matching(
        rf"{_LABEL_PREFIX}{_LABEL}",
        "a Kubernetes key, such as kueue.x-k8s.io/queue-name: up to 63 letters, digits, -, _ and "
        "., starting and ending with a letter or a digit, after an optional domain and /",
    ),
]
LabelKey = Annotated[NodeLabelKey, AfterValidator(_not_reserved)]
LabelValue = Annotated[
    str,
    matching(
        rf"{_LABEL}?",
        "the value of a Kubernetes label: empty, or up to 63 letters, digits, -, _ and ., starting "
        "and ending with a letter or a digit",
    ),
]


# Factors of the suffixes of Kubernetes quantities.
_QUANTITY_SUFFIXES = {
    "": 1.0,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}


def amount(quantity: str) -> float:
    """Returns the number of cores or bytes of a Kubernetes quantity, such as 500m or 8Gi."""
    digits = quantity.rstrip("".join(_QUANTITY_SUFFIXES))
    return float(digits) * _QUANTITY_SUFFIXES[quantity.removeprefix(digits)]


class Resources(Section):
    """Resource requests of a step."""

    cpu: Quantity = Field(default="2", description="CPU limit.")
    memory: Quantity = Field(default="8Gi", description="Memory limit.")
    cpu_request: Quantity | None = Field(
        default=None, description="CPU that a node must have free; null: the limit."
    )
    memory_request: Quantity | None = Field(
        default=None, description="Memory that a node must have free; null: the limit."
    )
    ephemeral_storage: Quantity | None = Field(
        default=None, description="Size of the scratch disk; null: the node's default."
    )
    shared_memory: Quantity | None = Field(
        default=None, description="Size of /dev/shm, for data loading; null: the node's default."
    )

    @model_validator(mode="after")
    def _requests_are_within_limits(self) -> "Resources":
        for name in ("cpu", "memory"):
            limit, request = getattr(self, name), getattr(self, f"{name}_request")
            if request is not None and amount(request) > amount(limit):
                raise ValueError(
                    f"{name}_request must be at most the limit {name}, {limit}; lower it, or raise "
                    f"the limit. Received: {request}"
                )
        return self


class Toleration(Section):
    """Toleration of a taint of nodes."""

    key: NodeLabelKey | Literal[""]
    operator: Literal["Equal", "Exists"] = "Exists"
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = "NoSchedule"

    @model_validator(mode="after")
    def _is_one_that_kubernetes_accepts(self) -> "Toleration":
        if self.operator == "Exists" and self.value:
            raise ValueError(
                "value must be left out with operator Exists, which tolerates every value; remove "
                f"it, or set operator to Equal. Received: {self.value!r}"
            )
        if self.operator == "Equal" and not self.key:
            raise ValueError("key is required with operator Equal. Received: ''")
        return self


class Gpu(Section):
    """Steps that run on GPU nodes."""

    steps: list[Literal["Trainer", "FeatureExtractor"]] = Field(
        default=["Trainer"], description="Steps that run on GPU nodes."
    )
    count: Count = Field(default=1, description="GPUs per step; 0 trains on CPUs.")
    accelerator: str = Field(
        default="nvidia.com/gpu",
        description="Name of the GPU resource; for vertex, for example NVIDIA_TESLA_T4.",
    )
    node_selector: dict[NodeLabelKey, LabelValue] = Field(
        default={}, description="Labels of the GPU nodes."
    )
    tolerations: list[Toleration] = Field(
        default=[Toleration(key="nvidia.com/gpu")], description="Tolerated taints of the GPU nodes."
    )
    resources: Resources = Field(
        default=Resources(cpu="4", memory="16Gi", shared_memory="2Gi"),
        description="Resource requests of these steps.",
    )
    labels: dict[LabelKey, LabelValue] = Field(
        default={},
        description="More labels of the pods of these steps, such as that of another Kueue queue.",
    )

    @model_validator(mode="after")
    def _selector_has_a_gpu(self) -> "Gpu":
        if self.count == 0 and self.node_selector:
            raise ValueError(
                "count is 0 and node_selector is set, which would occupy a GPU node without using "
                "its GPU; set count to 1 or more, or remove node_selector"
            )
        return self


class NodePool(Section):
    """Nodes for steps without a GPU, by the name of the pool."""

    steps: list[str] = Field(
        min_length=1,
        description="Steps that run there, such as Evaluator, and in a study Trainer for all arms "
        "and Trainer.NAME for one, which takes precedence.",
    )
    node_selector: dict[NodeLabelKey, LabelValue] = Field(
        default={}, description="Labels of the nodes."
    )
    tolerations: list[Toleration] = Field(default=[], description="Tolerated taints of the nodes.")
    resources: Resources | None = Field(
        default=None, description="Resource requests of the steps; null: those of CPU steps."
    )
    labels: dict[LabelKey, LabelValue] = Field(
        default={}, description="More labels of the pods, such as that of another Kueue queue."
    )


_LONGEST_WAIT = "max_backoff_seconds"  # of earlier releases
SECONDS_OF_AN_HOUR = 3600


class Retries(Section):
    """Retries of a failed step, for example on preemptible nodes."""

    count: Count = Field(default=3, description="Retries after the first attempt.")
    backoff_seconds: Count = Field(default=60, description="Wait before the first retry.")
    backoff_factor: PositiveCount = Field(
        default=2, description="Whole factor by which each wait grows."
    )
    give_up_after_hours: Annotated[Number, Field(gt=0)] = Field(
        default=72,
        description=(
            "Time from the start of the first attempt after which the step is stopped and not "
            "retried, waits included; must be longer than all attempts together."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _longest_wait_is_gone(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and _LONGEST_WAIT in given:
            raise ValueError(
                f"{_LONGEST_WAIT} was no longest wait: the backend stops a step, and retries it no "
                "more, when this time has passed since its first attempt began. Write "
                "give_up_after_hours instead, longer than all attempts together. Received: "
                f"{{{_LONGEST_WAIT}: {given[_LONGEST_WAIT]}}}"
            )
        return given

    @model_validator(mode="after")
    def _all_retries_can_begin(self) -> "Retries":
        waits = self.backoff_seconds * sum(self.backoff_factor**at for at in range(self.count))
        if waits >= self.give_up_after_hours * SECONDS_OF_AN_HOUR:
            raise ValueError(
                f"give_up_after_hours must be longer than all waits together, {waits:,} seconds, "
                "and the attempts; raise it, or lower count, backoff_seconds or backoff_factor. "
                f"Received: {self.give_up_after_hours:g}"
            )
        return self


StepName = Literal[
    "ImageExampleGen",
    "StatisticsGen",
    "SchemaGen",
    "ExampleValidator",
    "ImbalanceSampler",
    "FeatureExtractor",
    "Trainer",
    "Calibrator",
    "ChampionFinder",
    "Evaluator",
    "Pusher",
    "Reporter",
    "StudyReporter",
    "Notifier",
]
Steps = Literal["all"] | list[StepName]


class Volume(Section):
    """A persistent volume claim, mounted into the steps that use it."""

    claim: DnsSubdomain
    path: Annotated[str, matching(r"/.+", "an absolute path, such as /registry")]
    steps: Steps | None = Field(
        default=None,
        description="Steps that mount it, or all; null: those whose parameters, and all steps if "
        "a variable of env, name a path on it.",
    )


class Secret(Section):
    """Keys of a Kubernetes secret that become environment variables. Never their values."""

    name: DnsSubdomain
    env: dict[str, str] = Field(description="Key of the secret by environment variable.")
    steps: Steps | None = Field(
        default=None,
        description="Steps that receive it, or all; null: those that open the object store whose "
        "credentials it has (AWS_… or GOOGLE_…). Required for other variables.",
    )

    @model_validator(mode="after")
    def _is_given_to_a_step(self) -> "Secret":
        others = sorted(name for name in self.env if not name.startswith(tuple(STORE_VARIABLES)))
        if self.steps is None and others:
            raise ValueError(
                f"steps is required for {others[0]}, which no step is known to read; name the "
                "steps that need it, or set steps to all"
            )
        return self


class Users(Section):
    """Users that the steps run as; none is root.

    Kubeflow Pipelines can't mount a claim read-only: a step that only reads runs as `reader`, who
    can't change what `writer` has written.
    """

    writer: PositiveCount | None = Field(
        default=10001,
        description="User id of steps that write to a volume, such as the Pusher; null: the "
        "image's or the cluster's.",
    )
    reader: PositiveCount | None = Field(
        default=10002,
        description="User id, and group id, of all other steps; null: the image's or the "
        "cluster's.",
    )


# The client sets these itself, from the request.
_SET_BY_CLIENT = ("connection", "content-length", "content-type", "host", "transfer-encoding")
_PRINTABLE = r"[ -~]"  # what a header may contain in ASCII


def _header_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
        raise ValueError("must be the name of an HTTP header, such as Cookie or kubeflow-userid")
    if name.lower() in _SET_BY_CLIENT:
        raise ValueError("must not be a header that describes the request; remove it")
    return name


def _variable_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        # Not shown: it may be the secret itself.
        raise ValueError(
            "must be the name of an environment variable, never the value of the header. "
            f"Received: {len(name)} characters, not shown"
        )
    return name


HeaderName = Annotated[str, AfterValidator(_header_name)]
VariableName = Annotated[str, AfterValidator(_variable_name)]


class Header(Section):
    """Source of a header's value: a command, or a variable, whose name may stand alone."""

    env: VariableName | None = Field(
        default=None, description="Environment variable with the value."
    )
    command: list[str] | None = Field(
        default=None,
        description="Program and arguments, run without a shell, that print the value on one line; "
        "run once per command, and again when the value is no longer accepted.",
    )
    prefix: Annotated[str, matching(f"{_PRINTABLE}*", "printable ASCII text")] = Field(
        default="",
        description='Text before the value, such as "Bearer " or "oauth2_proxy_kubeflow=".',
    )
    timeout_seconds: Annotated[Number, Field(gt=0)] = Field(
        default=60, description="Time limit of the command."
    )

    @model_validator(mode="before")
    @classmethod
    def _variable_may_stand_alone(cls, given: Any) -> Any:
        return {"env": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _has_one_source(self) -> "Header":
        given = [name for name in ("env", "command") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "must have either env, an environment variable, or command. Received: "
                f"{' and '.join(given) or 'none of them'}"
            )
        if self.command is not None and not (self.command and self.command[0]):
            raise ValueError("command must begin with a program. Received: no program")
        return self


class Auth(Section):
    """Authentication with Kubeflow Pipelines."""

    kind: Literal["none", "token", "service_account"] = Field(
        default="none",
        description="token: from an environment variable; service_account: that of the pod.",
    )
    token_env: str = Field(
        default="KUBEFLOW_TOKEN", description="Environment variable with the token."
    )
    token_path: LocalPath = Field(
        default="/var/run/secrets/kubeflow/pipelines/token",
        description="File of the service account's projected token.",
    )
    headers: dict[HeaderName, Header] = Field(
        default={},
        description="Headers of every request, such as the cookie of a session: "
        "{Cookie: KUBEFLOW_COOKIE}. Never their values.",
    )

    @field_validator("headers")
    @classmethod
    def _each_is_given_once(cls, headers: dict[str, Header]) -> dict[str, Header]:
        counts = Counter(name.lower() for name in headers)
        if twice := sorted(name for name, count in counts.items() if count > 1):
            raise ValueError(f"must name {twice[0]} once. Received: {', '.join(headers)}")
        return headers

    @model_validator(mode="after")
    def _authorization_has_one_source(self) -> "Auth":
        for name in self.headers:
            if self.kind != "none" and name.lower() == "authorization":
                raise ValueError(
                    f"headers has {name}, which kind {self.kind} sets too; set kind to none, or "
                    "remove the header"
                )
        return self


class Schedule(Section):
    """When the pipeline runs."""

    cron: str = Field(description="Six fields, seconds first, in UTC: 0 0 3 * * *.")
    enabled: bool = Field(default=True, description="false: the schedule is created paused.")
    catchup: bool = Field(default=False, description="Start runs that were missed.")
    max_concurrency: Literal[1] = Field(default=1, description="Runs never overlap.")

    @field_validator("cron")
    @classmethod
    def _six_fields(cls, cron: str) -> str:
        from pipeline.kubeflow.cron import check

        check(cron)
        return cron


def checked_root(root: str) -> str:
    """Returns the pipeline root without a trailing slash.

    Raises:
      ValueError: the launcher can't map it to a local folder, or TFX would read it as a pattern.
    """
    scheme, separator, rest = root.partition("://")
    if not separator or scheme not in LAUNCHER_SCHEMES or not rest.strip("/"):
        allowed = ", ".join(f"{known}://bucket/path" for known in LAUNCHER_SCHEMES)
        raise ValueError(f"must be one of {allowed}, which the launcher maps to local folders")
    return literal(root.rstrip("/"))


PipelineRoot = Annotated[str, AfterValidator(checked_root)]


class Kubeflow(Section):
    """Where and how the pipeline runs on a cluster. Only `outnumbered kubeflow` reads it."""

    target: Literal["kubeflow", "vertex"] = Field(
        default="kubeflow", description="kubeflow: the open-source backend; vertex: Vertex AI."
    )
    image: Image = Field(description="Image of every step, with a tag or a digest.")
    gpu_image: Image | None = Field(
        default=None, description="Image of the steps on GPU nodes; null: same as image."
    )
    pipeline_root: PipelineRoot = Field(
        description="Where artifacts are stored, such as s3://bucket/outnumbered: gs, s3 or minio."
    )
    host: str | None = Field(
        default=None, description="URL of the Kubeflow Pipelines API, such as https://kfp.example."
    )
    namespace: DnsLabel = Field(default="kubeflow", description="Namespace of the runs.")
    experiment: str = Field(default="outnumbered", description="Experiment of the runs.")
    service_account: DnsSubdomain | None = Field(
        default=None, description="Service account of the steps; null: the cluster's default."
    )
    verify_tls: bool = Field(default=True, description="Verify the server's certificate.")
    ca_file: LocalPath | None = Field(
        default=None, description="File of additional CA certificates to trust."
    )
    auth: Auth = Field(default=Auth(), description="Authentication with Kubeflow Pipelines.")
    resources: Resources = Field(default=Resources(), description="Resource requests of CPU steps.")
    gpu: Gpu = Field(default=Gpu(), description="Steps that run on GPU nodes.")
    node_pools: dict[DnsLabel, NodePool] = Field(
        default={}, description="Nodes of other steps, by the name of the pool."
    )
    retries: Retries = Field(default=Retries(), description="Retries of a failed step.")
    volumes: list[Volume] = Field(
        default=[], description="Claims that steps mount, such as that of the registry."
    )
    secrets: list[Secret] = Field(default=[], description="Secrets as environment variables.")
    users: Users = Field(default=Users(), description="Users that the steps run as.")
    env: dict[str, str] = Field(default={}, description="Environment variables of every step.")
    labels: dict[LabelKey, LabelValue] = Field(
        default={},
        description=(
            "Labels of every pod, such as {kueue.x-k8s.io/queue-name: training} and "
            "{kueue.x-k8s.io/priority-class: low} for Kueue."
        ),
    )
    annotations: dict[LabelKey, str] = Field(default={}, description="Annotations of every pod.")
    schedule: Schedule | None = Field(
        default=None, description="Schedule of the pipeline; null: none."
    )

    @model_validator(mode="after")
    def _nothing_is_set_twice(self) -> "Kubeflow":
        variables = [*self.env, *(name for secret in self.secrets for name in secret.env)]
        paths = [volume.path.rstrip("/") for volume in self.volumes]
        for what, names in (("the environment variable", variables), ("a volume at", paths)):
            twice = sorted(name for name, count in Counter(names).items() if count > 1)
            if twice:
                raise ValueError(
                    f"{what} {twice[0]} is given twice, in env, secrets or volumes; remove one"
                )
        return self

    @model_validator(mode="after")
    def _each_step_is_in_one_pool(self) -> "Kubeflow":
        pools: dict[str, str] = {}
        for pool, settings in self.node_pools.items():
            for step in settings.steps:
                if step in pools:
                    raise ValueError(
                        f"node_pools.{pool} has the step {step}, which node_pools.{pools[step]} "
                        "has too; remove one of them"
                    )
                if self.gpu.count and step.partition(".")[0] in self.gpu.steps:
                    raise ValueError(
                        f"node_pools.{pool} has the step {step}, which gpu.steps sends to GPU "
                        "nodes; remove one of them, or set gpu.count to 0"
                    )
                pools[step] = pool
        return self

    @field_validator("host")
    @classmethod
    def _is_a_url(cls, host: str | None) -> str | None:
        if host is not None and not re.match(r"^https?://[^/\s]+", host):
            raise ValueError("must be a URL that begins with http:// or https://")
        return host
