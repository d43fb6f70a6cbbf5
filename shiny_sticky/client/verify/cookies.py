"""Check of the attributes that cookies have."""

from __future__ import annotations

from collections.abc import Iterator

from shiny_sticky.client.address import Address
from shiny_sticky.client.verify.run import Run


def check_cookies(run: Run) -> None:
    """Look whether the cookies have the attributes that they should have."""
    first: dict[str, list[str]] = {}
    for header in run.cookie_headers:
        name, *attributes = [part.strip() for part in header.split(";")]
        first.setdefault(name.partition("=")[0], attributes)
    facts = {"cookies": first}
    if not first:
        run.none("cookies", "The site sets no cookie", **facts)
        return
    wrong = [
        f"{name} {fault}" for name, attributes in first.items() for fault in cookie_faults(run.address, attributes)
    ]
    if wrong:
        run.bad("cookies", f"Cookies: {'; '.join(wrong)}", **facts)
    else:
        run.good(
            "cookies",
            f"Cookies have {', '.join(wanted(run.address))} and a fitting Path: {', '.join(first)}",
            **facts,
        )


def wanted(page: Address) -> list[str]:
    """The attributes that each cookie of a page should have, beside a fitting path."""
    return ["HttpOnly", "SameSite", *["Secure"] * page.is_encrypted]


def cookie_faults(page: Address, attributes: list[str]) -> Iterator[str]:
    """What is wrong with a cookie, behind its name in a sentence.

    Args:
        page: that it came with.
        attributes: as in ``Set-Cookie``: ``Path=/``, ``HttpOnly``.
    """
    given = {word.lower(): text for word, _, text in (each.partition("=") for each in attributes)}
    missing = [name for name in wanted(page) if name.lower() not in given]
    if missing:
        yield f"has no {', '.join(missing)}"
    if given.get("samesite", "").lower() == "none" and "secure" not in given:
        yield "is refused by browsers: SameSite=None without Secure"
    path = given.get("path", "/")
    if not _is_below(page.path.partition("?")[0], path):
        yield f"does not come back to the page: Path={path}"


def _is_below(path: str, other: str) -> bool:
    """Whether a cookie of another path comes with requests for a path: RFC 6265, section 5.1.4."""
    return path == other or path.startswith(other if other.endswith("/") else f"{other}/")
