"""Check of the upload limit: sizes are announced, one larger than the other, and nothing of that size is sent."""

from __future__ import annotations

from shiny_sticky.client.address import Address
from shiny_sticky.client.verify.plan import MB, UPLOAD_SIZES
from shiny_sticky.client.verify.run import Run
from shiny_sticky.client.visitor import NotAnswered, Visitor

# What a proxy says to a body that it does not take; whoever passes it on answers with 100, or the app's 400.
REFUSALS = (401, 403, 413)

# What an upload has to be allowed to have, by whom it may be limited.
ENOUGH = 10 * MB

NO_JOB = "verify"


def check_uploads(run: Run) -> None:
    """Look how large a file may be that is uploaded.

    The job that it is for does not exist, so no app gets a byte of it, whoever answers.
    """
    session = run.sessions[0]
    address = run.address.relative(f"session/{session.id}/upload/{NO_JOB}")
    allowed, refused, why = 0, 0, ""
    for size in UPLOAD_SIZES:
        why = _refusal(session.visitor, address, size)
        if why:
            refused = size
            break
        allowed = size
    facts = {"allowed_bytes": allowed, "refused_bytes": refused, "answer": why}
    run.judged("uploads", allowed >= ENOUGH, _said(allowed, refused, why), **facts)


def _refusal(visitor: Visitor, address: Address, size: int) -> str:
    """Why a file of a size is refused; empty if it is not."""
    try:
        status = visitor.announce(address, size)
    except NotAnswered as error:
        return str(error)
    return str(status) if status in REFUSALS or status >= 500 else ""


def _said(allowed: int, refused: int, why: str) -> str:
    if not allowed:
        return f"A file of {named(refused)} may not be uploaded ({why})"
    says = f"A file of {named(allowed)} may be uploaded"
    return f"{says}, one of {named(refused)} not ({why})" if why else says


def named(size: int) -> str:
    """A size as people write it."""
    return f"{size // MB >> 10} GB" if size >= MB << 10 else f"{size // MB} MB"
