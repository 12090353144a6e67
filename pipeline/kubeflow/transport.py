"""HTTP requests to Kubeflow Pipelines: headers, time limits, retries, proxies, error messages."""

import contextlib
import io
import ipaddress
import json
import re
import ssl
import urllib.parse
from collections.abc import Iterator, Mapping
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

from pipeline.kubeflow.credentials import Credentials, check_value
from pipeline.kubeflow.errors import (
    ConflictError,
    KubeflowError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UsageError,
)
from pipeline.kubeflow.settings import Header, Kubeflow

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
# Headers whose values are secrets.
_SECRET = frozenset({"authorization", "cookie"})
# Shorter texts occur in any message.
_SHORTEST_SECRET = 6
_HIDDEN = "[not shown]"
_DENIED = re.compile(
    r"User '(?P<user>[^']*)' is not authorized.*?\bNamespace:(?P<namespace>[^,}]*).*?"
    r"\bVerb:(?P<verb>\w*).*?\bResource:(?P<resource>\w*)",
    re.DOTALL,
)
_RESOURCES = {"jobs": "recurring runs"}


class _LoginPageError(Exception):
    """The answer is a page to sign in on, not one of the API."""


class _MovedError(Exception):
    """The answer is a redirect of the same request to another host."""


class RestClient(RESTClientObject):
    """The transport of kfp_server_api with the headers, time limits and proxies of the settings.

    A request that could not be sent is repeated. If the answer is lost or a transient error (429,
    5xx), only idempotent requests are repeated; creating a run is not one. If the server asks to
    sign in, the commands that print headers run again, and the request is sent once more.

    No redirect is followed: the headers go to the host of the settings alone.
    """

    def __init__(self, section: Kubeflow) -> None:
        """Creates the connection pool, with the proxy set in the environment, if any.

        Raises:
          UsageError: the certificate file or the proxy is invalid, or the variable of a header is
            not set.
        """
        self.section = section
        self._credentials = Credentials(section.auth)
        self._secrets: set[str] = set()
        self.pool_manager = _pool_manager(
            section,
            retries=urllib3.Retry(
                total=_RETRIES,
                # The answer to a redirected request is the redirect itself.
                redirect=False,
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
          KubeflowError: a command that prints a header failed, or a header can't be sent.
          urllib3.exceptions.HTTPError: no answer was received.
        """
        options["_request_timeout"] = (_CONNECT_SECONDS, _READ_SECONDS)
        given = options.pop("headers", None) or {}
        try:
            return self._answer(method, url, self._headers(given), options)
        except (ApiException, _LoginPageError) as error:
            asks = isinstance(error, _LoginPageError) or error.status == 401
            if not asks or not self._credentials.renew():
                raise
        return self._answer(method, url, self._headers(given), options)

    def hide(self, text: str) -> str:
        """Returns a text without the values of cookies and other headers that were sent."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, _HIDDEN)
        return text

    def _headers(self, given: Mapping[str, str]) -> dict[str, str]:
        own = self._credentials.headers()
        names = {name.lower() for name in own}
        headers = {name: value for name, value in given.items() if name.lower() not in names} | own
        for name, value in headers.items():
            check_value(str(value), f"the header {name}")
            if name.lower() in names | _SECRET:
                self._secrets |= set(_secrets(value))
        return headers

    def _answer(self, method: str, url: str, headers: dict[str, str], options: Any) -> Any:
        try:
            answer = super().request(method, url, headers=headers, **options)
        except ApiException as error:
            _check_page(url, int(error.status or 0), error.headers or {})
            # Its caller decodes it as UTF-8.
            error.body = (error.body or b"").decode("utf-8", errors="replace").encode()
            raise
        _check_page(url, answer.status, answer.getheaders())
        return answer


def _secrets(value: str) -> Iterator[str]:
    """Yields the parts of a header's value that are secret: each cookie's value, the token."""
    pairs = [pair.strip() for pair in value.split(";")]
    for text in (*pairs, *(pair.partition("=")[2] for pair in pairs), value.rpartition(" ")[2]):
        if len(text) >= _SHORTEST_SECRET:
            yield text


def _check_page(url: str, status: int, headers: Mapping[str, str]) -> None:
    """Raises _LoginPageError or _MovedError if an answer is not one of the API."""
    if 300 <= status < 400:
        # Without its query, which may contain a secret of the session.
        target = urllib.parse.urlsplit(urllib.parse.urljoin(url, headers.get("Location", "")))
        place = f"{target.scheme}://{target.netloc.rpartition('@')[2]}"
        if target.path.rstrip("/") == urllib.parse.urlsplit(url).path.rstrip("/"):
            raise _MovedError(place)
        raise _LoginPageError(f"a redirect to {place}{target.path}, a login page")
    is_page = "html" in headers.get("Content-Type", "")
    if is_page and (200 <= status < 300 or status in (401, 403)):
        raise _LoginPageError("a web page, such as a login page")


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
def request_errors(rest: RestClient, action: str) -> Iterator[None]:
    """Converts errors raised inside to a KubeflowError, and suppresses the output of kfp.

    Args:
      rest: the client that sends the requests.
      action: the purpose of the request, such as "list runs".

    Raises:
      KubeflowError: or one of its subclasses, depending on the error.
    """
    section = rest.section
    try:
        # kfp prints links on standard output, which `--json` reserves for the JSON object.
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except ApiException as error:
        raise _error_answer(rest, action, error) from error
    except _LoginPageError as error:
        raise RefusedError(
            f"{_failed(section, action)}: not signed in: the answer is {error}; "
            f"{_authentication_advice(section)}. Check kubeflow.host too, which ends in /pipeline "
            "behind the gateway of Kubeflow"
        ) from error
    except _MovedError as error:
        raise KubeflowError(
            f"{_failed(section, action)}: the server redirects to {error}; set kubeflow.host to a "
            "URL that begins so"
        ) from error
    except HTTPError as error:
        raise _no_answer(section, action, error) from error
    except OSError as error:
        raise KubeflowError(
            f"{_failed(section, action)}: {error}; check that the token file is readable "
            "(kubeflow.auth.token_path)"
        ) from error


def _failed(section: Kubeflow, action: str) -> str:
    return f"the request to {section.host} failed ({action})"


def _error_answer(rest: RestClient, action: str, error: ApiException) -> KubeflowError:
    status = int(error.status or 0)
    unavailable = status in _TRANSIENT or status >= 500
    kind = UnavailableError if unavailable else _ERRORS.get(status, KubeflowError)
    said = _server_message(error.body)
    denied = _DENIED.search(said) if status == 403 else None
    message = _denial(denied) if denied else rest.hide(said)[:_SHOWN_CHARACTERS]
    advice = _advice(rest.section, status, unavailable=unavailable, denied=bool(denied))
    return kind(
        f"{_failed(rest.section, action)}: {status} {error.reason or ''}".rstrip()
        + (f": {message}" if message else "")
        + advice
    )


def _denial(denied: re.Match[str]) -> str:
    """What the API denied in multi-user mode, in words."""
    found = denied.groupdict()
    return (
        f"user {found['user']!r} may not {found['verb']} "
        f"{_RESOURCES.get(found['resource'], found['resource'])} in namespace "
        f"{found['namespace']!r}"
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
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text)).strip()


def _advice(section: Kubeflow, status: int, *, unavailable: bool, denied: bool) -> str:
    if unavailable:
        return "; try again later, or check the log of its deployment ml-pipeline"
    if status == 401:
        return f"; {_authentication_advice(section)}"
    if denied:
        return (
            "; set kubeflow.namespace to the namespace of one of the user's profiles, or ask the "
            "owner of this one, if it exists, to add the user"
        )
    if status == 403:
        return (
            f"; the account has no permission in namespace {section.namespace!r}: ask the "
            "cluster's administrator for it, or set kubeflow.namespace to one of yours"
        )
    return _ADVICE.get(status, "")


def _authentication_advice(section: Kubeflow) -> str:
    auth = section.auth
    sources = [_source(name, header) for name, header in auth.headers.items()]
    if auth.kind == "token":
        sources.append(f"the token in ${auth.token_env}")
    if auth.kind == "service_account":
        sources.append(f"the token in {auth.token_path}")
    if not sources:
        return (
            "kubeflow.auth.kind is none: set it to token or service_account, or give a cookie or a "
            "header in kubeflow.auth.headers, such as {Cookie: KUBEFLOW_COOKIE}"
        )
    refused = f"{' and '.join(sources)} {'were' if sources[1:] else 'was'} not accepted"
    if auth.kind == "service_account":
        return f"{refused}: check the token's audience"
    return f"{refused}: a session or token may have expired; sign in again"


def _source(name: str, header: Header) -> str:
    if header.command:
        return f"the header {name} that {header.command[0]!r} has printed again"
    return f"the header {name} in ${header.env}"


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
