"""The echo app, and below /kept/ files that are the same for everybody."""

from echo import app as echo


def kept(path: str) -> bytes:
    """What /kept/... answers: as long as makes compressing worth while, and another text for each path."""
    return f"// {path}\n".encode() * 200


async def app(scope, receive, send):
    if scope["type"] != "http" or not scope["path"].startswith("/kept/"):
        await echo(scope, receive, send)
        return
    headers = [(b"content-type", b"text/javascript")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": kept(scope["path"])})
