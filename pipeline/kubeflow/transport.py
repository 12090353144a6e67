"""HTTP requests to Kubeflow Pipelines: time limits, retries, proxies and error messages."""

import contextlib
import io
import ipaddress
import json
import re
import ssl
import urllib.parse
from collections.abc import Iterator
from typing import Any

import certifi
import urllib3
from kfp_server_api.exceptions import ApiException
from kfp_server_api.rest import RESTClientObject
from requests import utils as requests_utils
from urllib3.exceptions import (
    HTTPError,
    LocationParseError,
    MaxRetryError,
    ProxyError,
    SSLError,
    TimeoutError,
)

from pipeline.kubeflow.errors import (
    ConflictError,
    KubeflowError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UsageError,
)
from pipeline.kubeflow.settings import Kubeflow

_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_RETRIES = 3
# Waits of 0, 1 and 2 seconds.
_BACKOFF_SECONDS = 0.5
_TRANSIENT = frozenset({429, 500, 502, 503, 504})
_SHOWN_CHARACTERS = 400
_ERRORS: dict[int, type[KubeflowError]] = {
    401: RefusedError,
    403: RefusedError,
    404: NotFoundError,
    409: ConflictError,
}

_ADVICE = {
    404: "; check the name or id, and that kubeflow.host is the API of Kubeflow Pipelines",
    407: "; add the proxy's user and password to its URL: http://user:password@proxy:3128",
    409: "; an object of that name already exists: delete it, or use another name",
}


class RestClient(RESTClientObject):
    """The transport of kfp_server_api with time limits, retries, proxies and own CA certificates.

    A request that could not be sent is repeated. If the answer is lost or a transient error (429,
    5xx), only idempotent requests are repeated; creating a run is not one.
    """

    def __init__(self, section: Kubeflow) -> None:
        """Creates the connection pool, with the proxy set in the environment, if any.

        Raises:
          UsageError: the certificate file or the proxy is invalid.
        """
        self._host = section.host
        self.pool_manager = _pool_manager(
            section,
            retries=urllib3.Retry(
                total=_RETRIES,
                backoff_factor=_BACKOFF_SECONDS,
                status_forcelist=_TRANSIENT,
                raise_on_status=False,
                # A server could request an hour, and nothing would be printed meanwhile.
                respect_retry_after_header=False,
            ),
        )

    def request(self, method: str, url: str, **options: Any) -> Any:
        """Sends a request.

        Raises:
          ApiException: the answer is not 2xx.
          KubeflowError: the answer is a web page.
          urllib3.exceptions.HTTPError: no answer was received.
        """
        options["_request_timeout"] = (_CONNECT_SECONDS, _READ_SECONDS)
        answer = super().request(method, url, **options)
        if "html" in (answer.getheader("Content-Type") or ""):
            raise RefusedError(
                f"{self._host} returned a web page instead of JSON, for example a login page, or "
                "kubeflow.host is another server; set kubeflow.auth, and check kubeflow.host"
            )
        return answer


def _pool_manager(section: Kubeflow, retries: urllib3.Retry) -> urllib3.PoolManager:
    context = _ssl_context(section)
    proxy = _proxy(section)
    if proxy is None:
        return urllib3.PoolManager(ssl_context=context, retries=retries)
    headers = urllib3.make_headers(
        proxy_basic_auth=urllib.parse.unquote(proxy.auth) if proxy.auth else None
    )
    return urllib3.ProxyManager(
        _without_credentials(proxy),
        proxy_headers=headers,
        proxy_ssl_context=context,
        ssl_context=context,
        retries=retries,
    )


def _proxy(section: Kubeflow) -> urllib3.util.Url | None:
    """The host's proxy according to HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.

    Lower-case variables are read too and take precedence. No proxy is used for this machine
    itself, on which `kubectl port-forward` listens.

    Raises:
      UsageError: the proxy is not an HTTP proxy.
    """
    host = section.host or ""
    if _is_this_machine(urllib.parse.urlsplit(host).hostname or ""):
        return None
    given = requests_utils.select_proxy(host, requests_utils.get_environ_proxies(host))
    if not given:
        return None
    try:
        proxy = urllib3.util.parse_url(given if "://" in given else f"http://{given}")
    except LocationParseError:
        # Without its cause and the value: the URL may contain a password.
        raise UsageError(_invalid_proxy("a value that is not a URL")) from None
    if proxy.scheme not in ("http", "https") or not proxy.host:
        raise UsageError(_invalid_proxy(_without_credentials(proxy)))
    return proxy


def _invalid_proxy(received: str) -> str:
    return (
        "the proxy for kubeflow.host must be an HTTP proxy, such as http://proxy:3128; set "
        f"HTTP_PROXY and HTTPS_PROXY, or add the host to NO_PROXY. Received: {received}"
    )


def _is_this_machine(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _without_credentials(proxy: urllib3.util.Url) -> str:
    return proxy._replace(auth=None, path=None, query=None, fragment=None).url


def _ssl_context(section: Kubeflow) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    if section.ca_file is not None:
        try:
            context.load_verify_locations(section.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"kubeflow.ca_file must be a file of certificates in PEM format ({error}). "
                f"Received: {section.ca_file!r}"
            ) from error
    if not section.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@contextlib.contextmanager
def request_errors(section: Kubeflow, action: str) -> Iterator[None]:
    """Converts errors raised inside to a KubeflowError, and suppresses the output of kfp.

    Args:
      section: the settings with the server's host.
      action: the purpose of the request, such as "list runs".

    Raises:
      KubeflowError: or one of its subclasses, depending on the error.
    """
    try:
        # kfp prints links on standard output, which `--json` reserves for the JSON object.
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except ApiException as error:
        raise _error_answer(section, action, error) from error
    except HTTPError as error:
        raise _no_answer(section, action, error) from error
    except OSError as error:
        raise KubeflowError(
            f"{_failed(section, action)}: {error}; check that the token file is readable "
            "(kubeflow.auth.token_path)"
        ) from error


def _failed(section: Kubeflow, action: str) -> str:
    return f"the request to {section.host} failed ({action})"


def _error_answer(section: Kubeflow, action: str, error: ApiException) -> KubeflowError:
    status = int(error.status or 0)
    unavailable = status in _TRANSIENT or status >= 500
    kind = UnavailableError if unavailable else _ERRORS.get(status, KubeflowError)
    message = _server_message(error.body)
    return kind(
        f"{_failed(section, action)}: {status} {error.reason or ''}".rstrip()
        + (f": {message}" if message else "")
        + _advice(section, status, unavailable=unavailable)
    )


def _server_message(body: str | None) -> str:
    try:
        answer = json.loads(body or "")
    except ValueError:
        answer = {}
    if not isinstance(answer, dict):
        answer = {}
    keys = ("message", "error", "error_message", "error_details")
    text = next((str(answer[key]) for key in keys if answer.get(key)), body or "")
    plain = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text)).strip()
    return plain[:_SHOWN_CHARACTERS]


def _advice(section: Kubeflow, status: int, *, unavailable: bool) -> str:
    if unavailable:
        return "; try again later, or check the log of its deployment ml-pipeline"
    if status == 401:
        return f"; {_authentication_advice(section)}"
    if status == 403:
        return (
            f"; the account has no permission in namespace {section.namespace!r}: ask the "
            "cluster's administrator for it, or set kubeflow.namespace to one of yours"
        )
    return _ADVICE.get(status, "")


def _authentication_advice(section: Kubeflow) -> str:
    auth = section.auth
    if auth.kind == "token":
        return f"the token in ${auth.token_env} was not accepted: it may have expired"
    if auth.kind == "service_account":
        return f"the token in {auth.token_path} was not accepted: check its audience"
    return "kubeflow.auth.kind is none: set it to token or service_account"


def _no_answer(section: Kubeflow, action: str, error: HTTPError) -> KubeflowError:
    reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    failed = _failed(section, action)
    if isinstance(reason, ProxyError) and (proxy := _proxy(section)):
        return UnavailableError(
            f"{failed}: it can't be reached through the proxy {_without_credentials(proxy)} "
            f"({_cause(reason.original_error)}); check HTTP_PROXY and HTTPS_PROXY, or add the "
            "host to NO_PROXY if it requires no proxy"
        )
    if isinstance(reason, SSLError):
        return UnavailableError(
            f"{failed}: TLS failed ({reason}); set kubeflow.ca_file to the CA certificate, or "
            "kubeflow.host to https:// and a name in the server's certificate"
        )
    if isinstance(reason, TimeoutError) and not isinstance(
        reason, urllib3.exceptions.NewConnectionError
    ):
        return UnavailableError(
            f"{failed}: timed out (limits: {_CONNECT_SECONDS} s to connect, {_READ_SECONDS} s to "
            "answer); check kubeflow.host, and whether a firewall blocks it"
        )
    return UnavailableError(
        f"{failed}: it can't be reached ({_cause(reason)}); check kubeflow.host, and, if you use "
        "`kubectl port-forward`, that it is still running"
    )


def _cause(reason: BaseException) -> str:
    return re.sub(r"^<?[\w.]*(\([^)]*\))?[^:]*: ", "", str(reason)) or type(reason).__name__
