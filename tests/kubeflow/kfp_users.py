"""The users of a multi-user cluster: who sends a request, and in which namespaces they may act.

As in `backend/src/apiserver`: `auth/authenticator_http_headers.go` reads a header that the gateway
sets, `auth/authenticator_token_review.go` a bearer token, and `resource_manager.go` asks
Kubernetes whether the user may use a verb on a resource in a namespace.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

USER_HEADER = "kubeflow-userid"
GROUP = "pipelines.kubeflow.org"


class DeniedError(Exception):
    """The request is refused."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass
class Users:
    """The users of a cluster.

    Attributes:
      namespaces: those of each user.
      tokens: user by bearer token.
    """

    namespaces: Mapping[str, Collection[str]]
    tokens: Mapping[str, str] = field(default_factory=dict)

    def check(self, headers: Mapping[str, str], verb: str, resource: str, namespace: str) -> None:
        """Checks that the sender may do what is asked for.

        Args:
          headers: of the request.
          verb: such as list.
          resource: experiments, pipelines, runs or jobs, which are recurring runs.
          namespace: of the resource.

        Raises:
          DeniedError: the sender is unknown, or there is no namespace, or no permission.
        """
        user = self._user(headers)
        if not namespace:
            message = f"An empty namespace is not possible in multi-user mode: {resource}"
            raise DeniedError(400, message)
        if namespace not in self.namespaces.get(user, ()):
            asked = (
                f"&ResourceAttributes{{Namespace:{namespace},Verb:{verb},Group:{GROUP},"
                f"Version:v1beta1,Resource:{resource},Subresource:,Name:,}}"
            )
            message = (
                f"Failed to authorize with API: PermissionDenied: User '{user}' is not authorized "
                f"with reason:  (request: {asked}): Unauthorized access"
            )
            raise DeniedError(403, f"Failed to {verb} {resource}: {message}")

    def _user(self, headers: Any) -> str:
        user = headers.get(USER_HEADER)
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if user is None and scheme == "Bearer":
            user = self.tokens.get(token)
        if user is None:
            message = "Request header error: there is no user identity header."
            raise DeniedError(401, f"Failed to authorize with API: Unauthenticated: {message}")
        return str(user)
