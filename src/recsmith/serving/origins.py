"""Which pages may call a service that needs no key: its own, and those of origins that are set.

A browser sends what any page wants to any address, that of its own machine included. Two things say where a page comes
from: ``Origin`` and ``Sec-Fetch-Site``, which no page can forge; and ``Host``, which is the page's own host name where
that name was made to point here (DNS rebinding). The order of the checks is that of ``http.CrossOriginProtection`` in
Go. They hold for reading, too: lists are logged.

With API keys none of this is needed: a page of another origin has no key, and cannot send one without CORS.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Annotated, TypeAlias

from pydantic import AfterValidator

EVERY = "*"  #: in ``allowed_hosts`` and ``cors_origins``
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+)(?::(\d{1,5}))?")
_PORTS = {"http": "80", "https": "443"}
_ORIGIN = re.compile(r"https?://[^\s/?#@]+")
_HOST_NAME = re.compile(r"(\*\.)?[\w-]+(\.[\w-]+)*\.?")
_OWN = (b"same-origin", b"none")  # of Sec-Fetch-Site; none: a person gave the address


def _is_origin(text: str) -> str:
    if text != EVERY and not _ORIGIN.fullmatch(text):
        raise ValueError("an origin such as https://shop.example, or *")
    return text


def _is_host(text: str) -> str:
    if text != EVERY and not _HOST_NAME.fullmatch(text):
        try:
            ip_address(text.strip("[]"))
        except ValueError:
            raise ValueError("a host name or address without port, *.NAME, or *") from None
    return text


def _is_network(text: str) -> str:
    if text != EVERY:
        ip_network(text)
    return text


Origin: TypeAlias = Annotated[str, AfterValidator(_is_origin)]
HostName: TypeAlias = Annotated[str, AfterValidator(_is_host)]
Network: TypeAlias = Annotated[str, AfterValidator(_is_network)]


@lru_cache(maxsize=1024)
def is_loopback(name: str) -> bool:
    """Whether a host name or an address leads to this machine only."""
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


class Origins:
    """The host names that a service answers to, and the origins whose pages may call it."""

    def __init__(self, hosts: Collection[str], origins: Collection[str]) -> None:
        """Each of ``hosts`` is a name, an address, ``*.NAME`` for the names below it, or ``*``."""
        self._every_host, self._every_origin = EVERY in hosts, EVERY in origins
        self._hosts = {_name(host) for host in hosts}
        self._endings = tuple(host[1:].lower() for host in hosts if host.startswith("*."))
        self._origins = {origin.encode() for origin in origins}

    def knows(self, host: bytes, address: str | None) -> bool:
        """Whether a ``Host`` header names this machine, the ``address`` that was called, or a host that is set."""
        if self._every_host:
            return True
        found = _HOST.fullmatch(host.decode("latin-1"))
        if found is None:
            return False
        name = _name(found[1])
        return is_loopback(name) or name == address or name in self._hosts or name.endswith(self._endings)

    def is_foreign(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a page of another origin sends the request, and of none that is set."""
        origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site")
        if origin is not None and (self._every_origin or origin in self._origins):
            return False
        if site is not None:
            return site not in _OWN
        return origin is not None and not _is_at(origin.decode("latin-1"), headers.get(b"host", b""))


def _is_at(origin: str, host: bytes) -> bool:
    """Whether a page of ``origin`` came from ``host``, whatever the scheme: a proxy may have ended TLS."""
    scheme, _, place = origin.partition("://")
    there, here = _HOST.fullmatch(place), _HOST.fullmatch(host.decode("latin-1"))
    if there is None or here is None:
        return False
    port = _PORTS.get(scheme)
    return _name(there[1]) == _name(here[1]) and (there[2] or port) == (here[2] or port)


def _name(host: str) -> str:
    """A host name in small letters, without the brackets of an address and the dot of a full name."""
    return host.strip("[]").removesuffix(".").lower()
