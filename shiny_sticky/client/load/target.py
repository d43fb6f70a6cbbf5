"""The site that a visit is played at: its addresses, and whether it is on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from shiny_sticky.client.address import is_own
from shiny_sticky.errors import StickyError


@dataclass(frozen=True)
class Target:
    """An app's address.

    Attributes:
        url: as it was given, with a slash at its end.
        headers: that each request has, as they were given.
    """

    url: str
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def place(self) -> SplitResult:
        """The parts of the address."""
        return urlsplit(self.url)

    def path(self, recorded: str) -> str:
        """Path and query of a recorded address, below the app's own."""
        return self.place.path.rstrip("/") + "/" + recorded.lstrip("/")

    def websocket(self, recorded: str) -> str:
        """A recorded websocket's address."""
        scheme = "wss" if self.place.scheme == "https" else "ws"
        return f"{scheme}://{self.place.netloc}{self.path(recorded)}"

    @property
    def origin(self) -> str:
        """What browsers say as where a page is from."""
        return f"{self.place.scheme}://{self.place.netloc}"


def target_of(url: str, headers: tuple[str, ...] = ()) -> Target:
    """Read what was given on the command line.

    Args:
        url: of the app.
        headers: ``name: value`` each.

    Raises:
        StickyError: it is no address of a site, or no header.
    """
    given = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(given)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = None
    if not known:
        raise StickyError(f"{url} is no address of a site: say http://127.0.0.1:8080/")
    pairs = []
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise StickyError(f"{header} is no header: say 'name: value'")
        pairs.append((name.strip(), value.strip()))
    return Target(parts._replace(query="", fragment="").geturl().rstrip("/") + "/", tuple(pairs))


def is_this_machine(target: Target) -> bool:
    """Whether a site is on this machine: each address that its name stands for is one of ours."""
    host = target.place.hostname or ""
    try:
        return is_own(host)
    except OSError as error:
        raise StickyError(f"{host}: there is no machine of that name ({error.strerror})") from None
