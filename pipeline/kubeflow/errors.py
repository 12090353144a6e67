"""Errors of the commands for Kubeflow Pipelines. Doesn't import kfp."""


class KubeflowError(RuntimeError):
    """A request to Kubeflow Pipelines failed; the message says what to do."""


class UsageError(KubeflowError):
    """A parameter, package or setting is invalid."""


class CompileError(UsageError):
    """The cluster can't run the pipeline; the message says which part, and why."""


class RefusedError(KubeflowError):
    """The server denied access: not authenticated (401) or not authorized (403)."""


class NotFoundError(KubeflowError):
    """No object with that name or id exists."""


class ConflictError(KubeflowError):
    """An object with that name already exists."""


class UnavailableError(KubeflowError):
    """The server could not be reached, or answered with a server error (5xx)."""


class WaitTimeoutError(KubeflowError):
    """The time limit for waiting was exceeded."""
