"""Where a site is that is asked from outside: its scheme, its host and port, and the path of its page."""

from __future__ import annotations

import ipaddress
import socket
import urllib.parse
from dataclasses import dataclass

import psutil

DEFAULT_PORTS = {"http": 80, "https": 443}

HIGHEST_PORT = 65535


class NoAddress(ValueError):
    """A text is no address of a page; says why."""


# What stands in a path or query as it is: RFC 3986, section 3.3 and 3.4.
SAFE = "/?%:@!$&'()*+,;=~-._"


@dataclass(frozen=True)
class Address:
    """The address of a page.

    Attributes:
        scheme: ``http`` or ``https``.
        host: a name, or an IP address without brackets.
        port: its port.
        path: with the query, if there is one; begins with a slash.
    """

    scheme: str
    host: str
    port: int
    path: str = "/"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address; without a scheme it is ``http``, without a path ``/``.

        Raises:
            NoAddress: it is none.
        """
        parts = urllib.parse.urlsplit(text if "://" in text else f"http://{text}")
        try:
            port = parts.port or DEFAULT_PORTS[parts.scheme]
        except KeyError:
            raise NoAddress(f"{text} begins with neither http:// nor https://") from None
        except ValueError:
            raise NoAddress(f"{text}: its port is none between 1 and {HIGHEST_PORT}") from None
        if not parts.hostname:
            raise NoAddress(f"{text} names no host")
        path, query = (urllib.parse.quote(part, safe=SAFE) for part in (parts.path or "/", parts.query))
        return cls(parts.scheme, _in_ascii(parts.hostname), port, f"{path}?{query}" if query else path)

    def __str__(self) -> str:
        return f"{self.origin}{self.path}"

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is spoken there."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """Host and port as in the header ``Host``: the port is left out where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """What a browser says in ``Origin`` when a page of this address opens a websocket."""
        return f"{self.scheme}://{self.authority}"

    def relative(self, url: str) -> Address:
        """The address that a URL has which stands in this page.

        Raises:
            NoAddress: it is none of http or https.
        """
        return Address.parse(urllib.parse.urljoin(str(self), url))

    def is_same_site(self, other: Address) -> bool:
        """Whether another address is of the same scheme, host and port."""
        return (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port)

    def is_this_machine(self) -> bool:
        """Whether each address that the host's name stands for is one of this machine's own."""
        try:
            return is_own(self.host)
        except OSError:
            return False


def is_own(host: str) -> bool:
    """Whether each address that a host's name stands for is one of this machine's own.

    Raises:
        OSError: there is no host of that name.
    """
    own = {link.address.partition("%")[0] for links in psutil.net_if_addrs().values() for link in links}
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = {str(place[0]).partition("%")[0] for *_, place in found}
    return all(address in own or ipaddress.ip_address(address).is_loopback for address in addresses)


def _in_ascii(host: str) -> str:
    """A host's name as it is sent.

    Raises:
        NoAddress: it cannot be.
    """
    try:
        return host if ":" in host else host.encode("idna").decode()
    except UnicodeError:
        raise NoAddress(f"{host} is no name of a host") from None
