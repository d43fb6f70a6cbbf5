"""A visitor's browser, as far as a site can tell: it keeps cookies, makes requests, and opens websockets."""

from __future__ import annotations

import copy
import http.client
import http.cookiejar
import ssl
import urllib.request
from dataclasses import dataclass
from email.message import Message
from typing import Any, cast

from shiny_sticky.client.address import Address
from shiny_sticky.client.traffic import Traffic
from shiny_sticky.client.websocket import Refused, WebSocket

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 3

# Whatever a site answers, no more of it is taken.
LARGEST_BODY = 64 << 20

# Seconds for a word on a body that is announced: RFC 9110, section 10.1.1, lets clients send it then all the same.
EXPECT_SECONDS = 3

# The first words of a browser's: some sites answer differently to what looks like a program.
USER_AGENT = "Mozilla/5.0 (compatible; shiny-sticky)"


class NotAnswered(Exception):
    """A request got no answer; says why in a few words."""


@dataclass
class Reply:
    """The answer to a request.

    Attributes:
        address: that was asked for at last.
        status: of the answer.
        headers: of the answer.
        body: as it came, compressed or not.
    """

    address: Address
    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        """The body, for a page that was not compressed."""
        return self.body.decode(errors="replace")


class _Answer:
    """What Python's cookie jar takes cookies out of."""

    def __init__(self, headers: Message) -> None:
        self._headers = headers

    def info(self) -> Message:
        return self._headers


class Visitor:
    """One browser with its own cookies; its tabs share them, in as many threads as there are.

    Args:
        traffic: counts what is sent.
        headers: that go with each request, such as what a sign-in needs; a ``Cookie`` goes beside the jar's.
    """

    def __init__(self, traffic: Traffic, headers: dict[str, str] | None = None) -> None:
        self.traffic = traffic
        self.jar = http.cookiejar.CookieJar()
        self._headers = {"User-Agent": USER_AGENT, **{name.title(): text for name, text in (headers or {}).items()}}

    def blocking_cookies(self) -> Visitor:
        """The same visitor with no cookies, but for those of a given header."""
        return Visitor(self.traffic, self._headers)

    def with_cookies_of(self, other: Visitor) -> Visitor:
        """The same visitor with cookies that are another one's."""
        visitor = self.blocking_cookies()
        for cookie in other.jar:
            visitor.jar.set_cookie(copy.copy(cookie))
        return visitor

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that it has been given, name to value."""
        return {cookie.name: cookie.value or "" for cookie in self.jar}

    def ask(
        self,
        address: Address,
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Make a request, on a connection of its own.

        Raises:
            NotAnswered: there is no answer.
            Stopped: nothing more is sent.
        """
        self.traffic.count_request()
        connection = http.client.HTTPConnection(address.host, address.port)
        try:
            connection.sock = self.traffic.connect(address)
            connection.request(method, address.path, body, {**self._sent(address), **(headers or {})})
            response = connection.getresponse()
            body = response.read(LARGEST_BODY)
            if response.length:
                raise http.client.IncompleteRead(body)
            reply = Reply(address, response.status, response.headers, body)
        except (OSError, http.client.HTTPException) as error:
            raise NotAnswered(reason(error)) from None
        finally:
            if connection.sock is not None:
                self.traffic.close(connection.sock)
            connection.close()
        self._keep(address, reply.headers)
        return reply

    def announce(self, address: Address, length: int) -> int:
        """Say that a body of a length is about to come, and whether it may; none is sent.

        Returns:
            The status that this is answered with; 100 if the body may come, also where nobody says so in time.

        Raises:
            NotAnswered: there is no connection, or it was closed.
            Stopped: nothing more is sent.
        """
        self.traffic.count_request()
        told = {**self._sent(address), "Content-Length": str(length), "Expect": "100-continue"}
        lines = [f"POST {address.path} HTTP/1.1", *(f"{name}: {text}" for name, text in told.items())]
        try:
            connection = self.traffic.connect(address)
        except OSError as error:
            raise NotAnswered(reason(error)) from None
        try:
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
            connection.settimeout(EXPECT_SECONDS)
            words = connection.recv(1 << 10).split(None, 2)
            if len(words) < 2 or not words[1].isdigit():
                raise NotAnswered("the connection was closed")
            return int(words[1])
        except TimeoutError:
            return int(http.client.CONTINUE)
        except OSError as error:
            raise NotAnswered(reason(error)) from None
        finally:
            self.traffic.close(connection)

    def open_page(self, address: Address) -> Reply:
        """Load a page, wherever it leads to; one that leads to another site is given as it is.

        Raises:
            NotAnswered: there is no answer.
            Stopped: nothing more is sent.
        """
        for _ in range(MOST_REDIRECTS):
            reply = self.ask(address)
            next_place = reply.headers.get("Location")
            if reply.status not in REDIRECTS or not next_place:
                break
            address = reply.address.relative(next_place)
            if address.host != reply.address.host:
                break
        return reply

    def open_websocket(self, address: Address, origin: str, subprotocol: str = "") -> WebSocket:
        """Open a websocket.

        Args:
            address: where; http or https.
            origin: whose page does that.
            subprotocol: that the page offers.

        Raises:
            Refused: it was answered otherwise than with 101.
            NotAnswered: there is no answer.
            Stopped: nothing more is sent.
        """
        sent = {**self._sent(address), "Origin": origin}
        del sent["Host"]
        if subprotocol:
            sent["Sec-WebSocket-Protocol"] = subprotocol
        try:
            opened = WebSocket.open(self.traffic, address, sent)
        except Refused as refused:
            self._keep(address, refused.headers)
            raise
        except OSError as error:
            raise NotAnswered(reason(error)) from None
        self._keep(address, opened.headers)
        return opened

    def _sent(self, address: Address) -> dict[str, str]:
        """The headers of a request."""
        asked = urllib.request.Request(str(address))
        self.jar.add_cookie_header(asked)
        cookies = [self._headers.get("Cookie"), asked.get_header("Cookie")]
        sent = {"Host": address.authority, "Accept-Encoding": "identity", **self._headers}
        if any(cookies):
            sent["Cookie"] = "; ".join(filter(None, cookies))
        return sent

    def _keep(self, address: Address, headers: Message) -> None:
        answer = cast(Any, _Answer(headers))
        self.jar.extract_cookies(answer, urllib.request.Request(str(address)))


def reason(error: Exception) -> str:
    """Why there was no answer, in a few words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message} (SSL_CERT_FILE names an authority of your own)"
    if isinstance(error, http.client.HTTPException):
        return "an answer that is cut short, or no HTTP"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
