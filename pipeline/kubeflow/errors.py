"""What goes wrong between the command line and Kubeflow Pipelines. Imports no kfp."""


class KubeflowError(RuntimeError):
    """Something that was asked of Kubeflow Pipelines failed; the message says what to do."""


class UsageError(KubeflowError):
    """What was asked for can't be asked for: a wrong parameter, package or setting."""


class CompileError(UsageError):
    """A pipeline that the cluster could not run; the message says which part of it, and why."""


class RefusedError(KubeflowError):
    """The server takes the caller for nobody it knows (401), or gives it no such right (403)."""


class NotFoundError(KubeflowError):
    """There is nothing of that name or id."""


class ConflictError(KubeflowError):
    """There is something of that name already."""


class UnavailableError(KubeflowError):
    """The server could not be reached, or failed by its own account (5xx)."""


class WaitTimeoutError(KubeflowError):
    """What was waited for did not come in time."""
