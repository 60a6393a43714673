"""Keeps a crawling process out of the internal network.

A list of URLs is untrusted: a URL, a redirect, or a name that resolves to 127.0.0.1 could make the crawler fetch what
only this machine can reach (server-side request forgery). Checking URLs before a request leaves gaps: redirects, and
names that resolve differently the second time. The check therefore sits on the process's sockets, as an audit hook
(PEP 578) that sees each address right before the connection is made. An audit hook cannot be removed, so the crawler
runs in a process of its own.
"""

import ipaddress
import re
import socket
import sys
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_SENDING = ("socket.connect", "socket.sendto", "socket.sendmsg")
_PROXIED = re.compile(rb"[A-Z]+ (?:(?:https?)://)?(?:[^/@\s]*@)?(\[[^\]\s]+\]|[^\s/:]+)(?::\d+)?[/ ]")


class RefusedAddressError(OSError):
    """A connection that the guard refused; an OSError, so that libraries clean up as after any other."""


class Guard:
    """Refuses connections to addresses that are not public.

    Args:
        proxies: URLs of proxies, which may have private addresses. A proxy resolves names itself, so the guard can only
            check addresses that a URL contains; the proxy has to refuse the rest.
    """

    def __init__(self, proxies: Iterable[str] = ()) -> None:
        self.refused: list[str] = []
        self._allowed = {place for proxy in proxies for place in _places(proxy)}

    def install(self) -> None:
        """Watch this process until it ends."""
        sys.addaudithook(self._on_event)

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _SENDING:
            self._check_socket(*arguments)
        elif event == "http.client.send" and self._allowed:
            self._check_proxied(arguments[1])
        elif event == "subprocess.Popen":
            self._check_command(arguments[1])

    def _check_socket(self, sock: socket.socket, address: Any) -> None:
        if address is None:
            return
        if sock.family not in _FAMILIES:
            raise self._refusal(str(address))
        host, port = address[:2]
        if (host, port) not in self._allowed and not is_public(host):
            raise self._refusal(host)

    def _check_proxied(self, data: Any) -> None:
        request = _PROXIED.match(data) if isinstance(data, bytes) else None
        host = request[1].decode("latin-1").strip("[]") if request else ""
        if request and host and (host == "localhost" or (_is_literal(host) and not is_public(host))):
            raise self._refusal(host)

    def _check_command(self, command: Any) -> None:
        """Refuse to hand a URL to another program: no hook sees the connections that it opens."""
        words = [command] if isinstance(command, str | bytes) else list(command or ())
        if any("://" in (word.decode("latin-1") if isinstance(word, bytes) else str(word)) for word in words):
            raise self._refusal(f"{words[0]!r}, a program that would open a URL by itself")

    def _refusal(self, host: str) -> RefusedAddressError:
        self.refused.append(host)
        return RefusedAddressError(f"refused: {host} is not a public address")


def is_public(host: str) -> bool:
    """Whether ``host`` is an IP address of the public internet; false for names."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return all(inner.is_global and not inner.is_multicast for inner in _inner(address))


def _inner(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The address, or the IPv4 address that an IPv6 one carries (mapped, 6to4, Teredo, NAT64)."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address in ipaddress.ip_network("64:ff9b::/96"):
        return [ipaddress.IPv4Address(address.packed[-4:])]
    carried = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    return [inner for inner in carried if inner is not None] or [address]


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _places(proxy: str) -> list[tuple[str, int]]:
    """IP addresses and port of a proxy."""
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    default = {"https": 443, "http": 80}.get(parts.scheme, 1080)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or default, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [(str(entry[4][0]), int(entry[4][1])) for entry in found]
