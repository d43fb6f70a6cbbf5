"""An upload that comes again with the same key reaches the app once."""

import asyncio

import pytest

from shiny_sticky.worker.middleware.repeated_uploads import ANSWERS, LONGEST_ANSWER, RepeatedUploadMiddleware

PATH = "/session/app1.k3f9-0123/upload/4567"


class Uploading:
    """An app that takes uploads, behind the middleware; tests say what it answers, and may hold it up."""

    def __init__(self, status: int = 200, body: bytes = b"OK") -> None:
        self.taken: list[bytes] = []
        self.status, self.body = status, body
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.middleware = RepeatedUploadMiddleware(self)

    async def __call__(self, scope, receive, send) -> None:
        taken = b""
        while True:
            message = await receive()
            taken += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.taken.append(taken)
        await self.go_on.wait()
        if self.status == 0:
            raise RuntimeError("It has failed.")
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": self.body})

    async def upload(self, key: bytes | None, path: str = PATH, method: str = "POST") -> tuple[int, bytes]:
        """The status and body of an answer."""
        pieces = [b"some ", b"file"]
        sent = []

        async def receive():
            body = pieces.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(pieces)}

        async def send(message):
            sent.append(message)

        headers = [] if key is None else [(b"idempotency-key", key)]
        scope = {"type": "http", "method": method, "path": path, "headers": headers}
        await self.middleware(scope, receive, send)
        assert not pieces, "the body is read, whoever answers"
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def test_the_second_one_gets_the_answer_of_the_first():
    async def scenario():
        app = Uploading()
        assert [await app.upload(b"a") for _ in range(3)] == [(200, b"OK")] * 3
        assert app.taken == [b"some file"]
        await app.upload(b"b")
        await app.upload(b"a", path=PATH + "8")
        assert len(app.taken) == 3, "another file, and another upload"

    asyncio.run(scenario())


def test_one_that_comes_while_the_first_is_taken_waits_for_its_answer():
    async def scenario():
        app = Uploading()
        app.go_on.clear()
        both = [asyncio.create_task(app.upload(b"a")) for _ in range(2)]
        while not app.taken:
            await asyncio.sleep(0)
        app.go_on.set()
        assert await asyncio.gather(*both) == [(200, b"OK")] * 2
        assert len(app.taken) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("key", "path", "method"), [(None, PATH, "POST"), (b"a", "/x", "POST"), (b"a", PATH, "PUT")]
)
def test_all_else_reaches_the_app_each_time(key, path, method):
    async def scenario():
        app = Uploading()
        for _ in range(2):
            assert await app.upload(key, path, method) == (200, b"OK")
        assert len(app.taken) == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("app", [(404, b"gone"), (500, b"failed"), (200, b"x" * (LONGEST_ANSWER + 1))])
def test_what_has_failed_is_tried_again_and_long_answers_are_not_kept(app):
    async def scenario():
        uploading = Uploading(*app)
        for _ in range(2):
            assert await uploading.upload(b"a") == app
        assert len(uploading.taken) == 2

    asyncio.run(scenario())


def test_an_app_that_raises_leaves_nothing_that_others_wait_for():
    async def scenario():
        app = Uploading(status=0)
        for _ in range(2):
            with pytest.raises(RuntimeError):
                await app.upload(b"a")
        app.status = 200
        assert await app.upload(b"a") == (200, b"OK")

    asyncio.run(scenario())


def test_no_more_answers_are_kept_than_pages_need():
    async def scenario():
        app = Uploading()
        for number in range(ANSWERS + 1):
            await app.upload(str(number).encode())
        await app.upload(b"1")
        assert len(app.taken) == ANSWERS + 1
        await app.upload(b"0")
        assert len(app.taken) == ANSWERS + 2, "the oldest is forgotten"

    asyncio.run(scenario())
