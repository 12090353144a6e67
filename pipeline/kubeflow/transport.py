"""HTTP to Kubeflow Pipelines: bounded in time, tried again, and its failures put into words."""

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
    407: "; give the proxy's user and password in its URL: http://user:password@proxy:3128",
    409: "; there is one of that name already: delete it, or give another name",
}


class RestClient(RESTClientObject):
    """The transport of kfp_server_api with time limits, retries, proxies and other authorities.

    A request that could not be sent is sent again. One whose answer is lost or transient (429,
    5xx) is asked again only where it changes nothing by being asked twice, which creating a run
    does.
    """

    def __init__(self, section: Kubeflow) -> None:
        """Makes the pool of connections, through the environment's proxy where it names one.

        Raises:
          UsageError: the file of certificates or the proxy can't be used.
        """
        self._host = section.host
        self.pool_manager = _pool_manager(
            section,
            retries=urllib3.Retry(
                total=_RETRIES,
                backoff_factor=_BACKOFF_SECONDS,
                status_forcelist=_TRANSIENT,
                raise_on_status=False,
                # A server may ask for an hour, silently.
                respect_retry_after_header=False,
            ),
        )

    def request(self, method: str, url: str, **options: Any) -> Any:
        """Sends a request.

        Raises:
          ApiException: the answer is not 2xx.
          KubeflowError: the answer is a web page.
          urllib3.exceptions.HTTPError: there is no answer.
        """
        options["_request_timeout"] = (_CONNECT_SECONDS, _READ_SECONDS)
        answer = super().request(method, url, **options)
        if "html" in (answer.getheader("Content-Type") or ""):
            raise RefusedError(
                f"{self._host} answers with a web page where the API of Kubeflow Pipelines would "
                "answer with JSON: a log-in page, or kubeflow.host is another server's; set "
                "kubeflow.auth, and check kubeflow.host"
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
    """The proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY name for the host.

    The variables may be in lower case too, which then come first. This machine itself, which
    `kubectl port-forward` listens on, is never asked through a proxy.

    Raises:
      UsageError: it is no HTTP proxy.
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
        # Without a cause: the URL may hold a password.
        raise UsageError(_no_proxy("what the environment names is no URL")) from None
    if proxy.scheme not in ("http", "https") or not proxy.host:
        raise UsageError(_no_proxy(f"{_without_credentials(proxy)} is none"))
    return proxy


def _no_proxy(found: str) -> str:
    return (
        f"the proxy for kubeflow.host must be one of HTTP, such as http://proxy:3128: {found}; set "
        "HTTP_PROXY and HTTPS_PROXY, or name the host in NO_PROXY"
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
                f"kubeflow.ca_file {section.ca_file} can't be used ({error}); give a file of "
                "certificates in PEM form"
            ) from error
    if not section.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@contextlib.contextmanager
def asked(section: Kubeflow, what: str) -> Iterator[None]:
    """Turns what goes wrong inside into a KubeflowError, and keeps kfp's prints off the screen.

    Args:
      section: whose host is asked.
      what: what it is asked for, such as "the runs of experiment 'cats'".

    Raises:
      KubeflowError: or one of its subclasses, by the kind of failure.
    """
    try:
        # kfp prints links on standard output, which may be promised to a program.
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except ApiException as error:
        raise _answered(section, what, error) from error
    except HTTPError as error:
        raise _unreachable(section, what, error) from error
    except OSError as error:
        raise KubeflowError(
            f"{section.host} could not be asked for {what}: {error}; is the token's file "
            "readable (kubeflow.auth.token_path)?"
        ) from error


def _answered(section: Kubeflow, what: str, error: ApiException) -> KubeflowError:
    status = int(error.status or 0)
    unavailable = status in _TRANSIENT or status >= 500
    kind = UnavailableError if unavailable else _ERRORS.get(status, KubeflowError)
    said = _said(error.body)
    return kind(
        f"{section.host} was asked for {what} and answered {status} {error.reason or ''}".rstrip()
        + (f": {said}" if said else "")
        + _advice(section, status, unavailable=unavailable)
    )


def _said(body: str | None) -> str:
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
        return "; try again later, or look at the log of its deployment ml-pipeline"
    if status == 401:
        return f"; {_who(section)}"
    if status == 403:
        return (
            f"; whoever asks has no right to it in namespace {section.namespace!r}: ask who runs "
            "the cluster for it, or set kubeflow.namespace to one of yours"
        )
    return _ADVICE.get(status, "")


def _who(section: Kubeflow) -> str:
    auth = section.auth
    if auth.kind == "token":
        return f"the token in ${auth.token_env} is not accepted: it may have run out"
    if auth.kind == "service_account":
        return f"the token in {auth.token_path} is not accepted: is its audience the right one?"
    return "kubeflow.auth.kind is none: set it to token or service_account"


def _unreachable(section: Kubeflow, what: str, error: HTTPError) -> KubeflowError:
    reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    asking = f"{section.host} could not be asked for {what}"
    if isinstance(reason, ProxyError) and (proxy := _proxy(section)):
        return UnavailableError(
            f"{asking}: its proxy {_without_credentials(proxy)} does not let it through "
            f"({_cause(reason.original_error)}); check HTTP_PROXY and HTTPS_PROXY, or name the "
            "host in NO_PROXY if it is reached without"
        )
    if isinstance(reason, SSLError):
        return UnavailableError(
            f"{asking}: TLS failed ({reason}); give its authority's certificate in "
            "kubeflow.ca_file, or https:// and a name that the certificate holds in kubeflow.host"
        )
    if isinstance(reason, TimeoutError) and not isinstance(
        reason, urllib3.exceptions.NewConnectionError
    ):
        return UnavailableError(
            f"{asking}: no answer in time (to connect {_CONNECT_SECONDS} s, to answer "
            f"{_READ_SECONDS} s); is the host right, and not behind a firewall?"
        )
    return UnavailableError(
        f"{asking}: it can't be reached ({_cause(reason)}); check kubeflow.host, and that "
        "`kubectl port-forward` still runs if that is the way to it"
    )


def _cause(reason: BaseException) -> str:
    return re.sub(r"^<?[\w.]*(\([^)]*\))?[^:]*: ", "", str(reason)) or type(reason).__name__
