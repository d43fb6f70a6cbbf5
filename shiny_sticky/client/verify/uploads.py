"""Check of the upload limit: sizes are announced, one larger than the other, and nothing of that size is sent."""

from __future__ import annotations

from shiny_sticky.client.verify.plan import MB, UPLOAD_SIZES
from shiny_sticky.client.verify.run import Run
from shiny_sticky.client.visitor import NotAnswered

TOO_LARGE = 413

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
        try:
            status = session.visitor.announce(address, size)
        except NotAnswered as error:
            why = str(error)
        else:
            why = str(status) if status == TOO_LARGE or status in (401, 403) or status >= 500 else ""
        if why:
            refused = size
            break
        allowed = size
    facts = {"allowed_bytes": allowed, "refused_bytes": refused, "answer": why}
    says = f"A file of {named(allowed or refused)} may {'' if allowed else 'not '}be uploaded"
    if why:
        says += f", one of {named(refused)} not ({why})" if allowed else f" ({why})"
    run.judged("uploads", allowed >= ENOUGH, says, **facts)


def named(size: int) -> str:
    """A size as people write it."""
    return f"{size // MB >> 10} GB" if size >= MB << 10 else f"{size // MB} MB"
