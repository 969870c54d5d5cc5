"""Bytes of files on a server, by HTTP range: connections are kept, failures tried again, credentials never shown.

Credentials are those of the address itself, of ~/.netrc (or the file that NETRC names) by host, or a token. Proxies are
those of the environment (HTTPS_PROXY, NO_PROXY, ...); certificates are checked against the system's.
"""

import functools
import netrc
import os
import random
import re
import ssl
import time
import urllib.request
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    ResponseError,
    SSLError,
)

from hybrid_asr.common.errors import UserError

_AT_ONCE = 1 << 18  # bytes
_SLOWEST = 1 << 15  # bytes a second over a whole answer; a slower server is as good as silent
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_REDIRECTS = 5
_AGAIN = {408, 425, 429, 500, 502, 503, 504}  # statuses that may pass
_DRAWS = random.Random()  # of waits alone: the draws of a training must not depend on a server


class RangeError(UserError):
    """Bytes that a server does not give; the message names the file, without credentials, the cause and the remedy."""


class RefusedError(RangeError):
    """The server does not give this file, whatever bytes of it are asked for."""


class UnansweredError(RangeError):
    """The server was asked as often as patience allows, and another file of it would be no better."""


class _Passing(Exception):
    """What may be over at the next attempt; `wait_s` is what the server asks for."""

    def __init__(self, what: str, wait_s: float = 0.0):
        super().__init__(what)
        self.wait_s = wait_s


class Fetched(NamedTuple):
    """Bytes of a file, and how many it has in all, None where the server does not say."""

    data: bytes
    total: int | None


def is_address(location: str) -> bool:
    """Whether `location` is an address on the network rather than a path."""
    return location.lower().startswith(("http://", "https://"))


def without_credentials(address: str) -> str:
    """An address as it may be shown: scheme, host and path."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def fetch(address: str, begin: int, size: int, *, timeout_s: float, retries: int, token: str | None = None) -> Fetched:
    """The `size` bytes from byte `begin` on of the file at `address`.

    A connection that fails or falls silent for `timeout_s`, an answer that is short or slow, and a server that is busy
    are tried again up to `retries` times, after 0.5 s, 1 s, 2 s, ..., at most 30 s, less a random part; what arrived is
    kept. Raises RangeError, of the kind UnansweredError after the last attempt.
    """
    asked, shown = _Range(address, begin, size, timeout_s, token), without_credentials(address)
    for attempt in range(retries + 1):
        try:
            return asked.receive()
        except _Passing as problem:
            if attempt == retries:
                tries = "once" if attempt == 0 else f"{attempt + 1} times"
                raise UnansweredError(
                    f"{shown}: {problem} (tried {tries}); look at the server and the network, then start the command "
                    "again; HYBRID_ASR_SHARDS_RETRIES and HYBRID_ASR_SHARDS_TIMEOUT_S are the patience"
                ) from None
            time.sleep(max(problem.wait_s, _wait_s(attempt)))
    raise AssertionError("the last attempt returns or raises")


def _wait_s(attempt: int) -> float:
    """The seconds before the next attempt: random, so that not all processes come back at once."""
    return min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt) * _DRAWS.uniform(0.5, 1.0)


class _Range:
    """A range of bytes, with those that have arrived."""

    def __init__(self, address: str, begin: int, size: int, timeout_s: float, token: str | None):
        parts = urlsplit(address)
        self.address = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
        self.shown, self.begin, self.size, self.timeout_s = without_credentials(address), begin, size, timeout_s
        self.headers = {"Accept-Encoding": "identity", **_authorization(address, token)}
        self.data, self.version = bytearray(), None

    def receive(self) -> Fetched:
        """Ask for what has not arrived. Raises _Passing or RangeError."""
        start, end = self.begin + len(self.data), self.begin + self.size
        response = self._ask({**self.headers, "Range": f"bytes={start}-{end - 1}"})
        try:
            total = self._check(response, start, end)
            self._read(response)
            response.release_conn()
        except HTTPError as error:
            raise _Passing(_describe(error, self.timeout_s)) from None
        finally:
            if len(self.data) < self.size:
                response.close()
        return Fetched(bytes(self.data), total)

    def _ask(self, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        timeout = urllib3.Timeout(connect=min(10.0, self.timeout_s), read=self.timeout_s)
        retries = urllib3.Retry(None, connect=0, read=0, redirect=_REDIRECTS, status=0, other=0)
        try:
            return _pool(_proxy(self.address)).request(
                "GET", self.address, headers=headers, timeout=timeout, retries=retries, preload_content=False
            )
        except HTTPError as error:
            cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
            what = _describe(cause, self.timeout_s)
            if isinstance(cause, SSLError):
                raise RefusedError(f"{self.shown}: {_tls_problem(cause)}") from None
            if isinstance(cause, ResponseError):
                raise RefusedError(
                    f"{self.shown}: the server sends on from one address to the next more than {_REDIRECTS} times; "
                    "open the address by hand to see where it leads"
                ) from None
            raise _Passing(what) from None

    def _check(self, response: urllib3.BaseHTTPResponse, start: int, end: int) -> int | None:
        """The size of the whole file, if the answer is the range from `start` on."""
        status = response.status
        first, total = _content_range(response.headers.get("Content-Range", ""))
        if status == 416 or (status == 206 and total is not None and total < end):
            held = "fewer" if total is None else f"{total:,}"
            raise RangeError(
                f"{self.shown}: is truncated: it has {held} bytes, byte {end:,} is needed; upload it again"
            )
        if status in _AGAIN:
            after = response.headers.get("Retry-After", "")
            wait_s = min(float(after), _LONGEST_WAIT_S) if after.isdecimal() else 0.0
            raise _Passing(f"the server answers {status} {response.reason}", wait_s)
        if status != 206:
            raise RefusedError(f"{self.shown}: {_refusal(status, response.reason)}")
        version = response.headers.get("ETag")
        if self.data and version != self.version:
            self.data.clear()
            raise _Passing("the file was replaced while it was read")
        self.version = version
        if first != start:
            raise RangeError(
                f"{self.shown}: the server sends the bytes from {first} on when asked for those from {start}"
            )
        return total

    def _read(self, response: urllib3.BaseHTTPResponse) -> None:
        until = time.monotonic() + self.timeout_s + self.size / _SLOWEST
        while (missing := self.size - len(self.data)) > 0:
            block = response.read1(min(missing, _AT_ONCE))
            if not block:
                raise _Passing(f"the answer ends after {len(self.data):,} of {self.size:,} bytes")
            self.data += block
            if time.monotonic() > until and len(self.data) < self.size:
                raise _Passing(f"the server sends fewer than {_SLOWEST:,} bytes a second")


def _content_range(text: str) -> tuple[int | None, int | None]:
    """The first byte of an answer and the size of the file, as the header Content-Range says."""
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", text.strip())
    if not match:
        return None, None
    return int(match[1]) if match[1] else None, int(match[2]) if match[2] != "*" else None


def _refusal(status: int, reason: str | None) -> str:
    """What a status means that another attempt would not change, with the remedy."""
    if status in (404, 410):
        return "there is no such shard on the server; upload it, or correct HYBRID_ASR_SHARDS"
    if status in (401, 403):
        return (
            f"the server refuses access ({status}); write its user and password to ~/.netrc, set "
            "HYBRID_ASR_SHARDS_TOKEN, or renew a signed address that has expired"
        )
    if status == 200:
        return (
            "the server does not know ranges of bytes, it would send the whole shard for each utterance; use another "
            "server, such as nginx or an object store, or copy the shards to a disk and set HYBRID_ASR_SHARDS to it"
        )
    return f"the server answers {status} {reason or ''}; open the address by hand to see why"


def _tls_problem(error: SSLError) -> str:
    """Why no connection by TLS came about, in OpenSSL's words, with the remedy."""
    cause = error.args[0] if error.args else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"the certificate of the server is not trusted ({cause.verify_message.rstrip('.')}); correct the address, "
            "install the authority, or name its file by SSL_CERT_FILE"
        )
    reason = getattr(cause, "reason", None) or type(cause).__name__
    return f"there is no connection by TLS ({reason}); look whether the address must begin with http://"


def _describe(error: BaseException, timeout_s: float) -> str:
    """What failed, without urllib3's own words, which have the whole address in them."""
    match error:
        case NameResolutionError():
            return "the name of the server is not known here"
        case NewConnectionError():  # a kind of ConnectTimeoutError
            return "the server cannot be reached: the connection was refused, or there is no way to it"
        case ConnectTimeoutError() | ReadTimeoutError():
            return f"the server sent nothing for {timeout_s:g} s"
        case ProtocolError():
            return "the connection broke"
        case _:
            return f"the request failed ({type(error).__name__})"


def _authorization(address: str, token: str | None) -> dict[str, str]:
    """The header by which the server knows the user: by the address, the token, or ~/.netrc."""
    parts = urlsplit(address)
    if parts.username is not None:
        return urllib3.make_headers(basic_auth=f"{unquote(parts.username)}:{unquote(parts.password or '')}")
    if token:
        return {"Authorization": f"Bearer {token}"}
    user, password = _netrc().get(parts.hostname or "", ("", ""))
    return urllib3.make_headers(basic_auth=f"{user}:{password}") if user else {}


@functools.cache
def _netrc() -> dict[str, tuple[str, str]]:
    """User and password of each host in the user's netrc file. What cannot be read there is no error of its content."""
    path = os.path.expanduser(os.environ.get("NETRC", "~/.netrc"))
    if not os.path.isfile(path):
        return {}
    try:
        hosts = netrc.netrc(path).hosts
    except (netrc.NetrcParseError, OSError) as error:
        line = getattr(error, "lineno", None)
        raise RangeError(f"{path}{f':{line}' if line else ''}: cannot be read; correct it") from None
    return {host: (login, password or "") for host, (login, _, password) in hosts.items() if host != "default"}


def _proxy(address: str) -> str | None:
    parts = urlsplit(address)
    bypassed = urllib.request.proxy_bypass(parts.hostname or "")
    return None if bypassed else urllib.request.getproxies().get(parts.scheme)


@functools.cache
def _pool(proxy: str | None) -> urllib3.PoolManager:
    """The connections of this process: a few to each server, since audio may be read by threads."""
    if proxy is None:
        return urllib3.PoolManager(num_pools=16, maxsize=8)
    parts = urlsplit(proxy)
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
    return urllib3.ProxyManager(proxy, proxy_headers=urllib3.make_headers(proxy_basic_auth=login), maxsize=8)


os.register_at_fork(after_in_child=_pool.cache_clear)
