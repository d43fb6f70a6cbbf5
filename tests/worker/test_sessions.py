"""A session stays on its process by its URLs alone, without a cookie or with one that names another worker."""

import ast
import asyncio
import contextlib
import hashlib
import html
import itertools
import json
import os
import re
import socket
import sys
import threading

import pytest
import websocket
from hypothesis import example, given
from hypothesis import strategies as st

from shiny_sticky.front.identity import IDENTITY_HEADERS
from shiny_sticky.worker.middleware.session_tags import SessionTagMiddleware, session_id
from support.real_site import APPS, ECHO, PATIENCE, ROOT, Site
from support.shiny_session import ShinySession, Tally

DEMO = str(ROOT / "app" / "app.py")
OUTPUTS = ("worker", "incarnation", "pid", "session", "upload_report", "download", "click_count")
ENDED = b"This session has ended. Please reload the page.\n"


def session_of(site: Site, **options) -> ShinySession:
    """A session of the demo."""
    path = site.settings["apps"]["app"].get("path", "/")
    return ShinySession(site.port, path, outputs=OUTPUTS, inputs={"clicks:shiny.action": 0}, **options)


@pytest.fixture(scope="module", params=["/", "/foo/"])
def demo(request):
    """The demo on three workers, at / and below a path."""
    with Site({"app": {"target": DEMO, "workers": 3, "path": request.param}}) as site:
        yield site.start()


@pytest.fixture(scope="module")
def echo():
    """Four echo workers, and a fifth process that a worker which is in the table no more has left behind."""
    with Site() as site, socket.socket(socket.AF_UNIX) as drained:
        site.start()
        drained.bind(str(site.run_dir / "app77.gone.sock"))
        drained.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = drained.accept()
                except OSError:
                    return
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\nstill draining")
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield site
        drained.shutdown(socket.SHUT_RDWR)


# --- a whole session


def check_everything(session: ShinySession) -> None:
    """Use each of a session's URLs; every answer comes from its process, and none sets a cookie."""
    worker, pid = session.output("worker"), int(session.output("pid"))
    asked = len(session.replies)

    route = session.until(lambda: session.custom.get("sticky-test"), "the route is known")["url"]
    for n in range(10):
        answer = session.ask(f"{route}&n={n}").json
        assert (answer["worker"], answer["pid"], answer["n"]) == (worker, pid, n)
        assert session.id == f"{session.incarnation}-{answer['session']}"

    for number in range(3):
        file = os.urandom(300_000)
        session.upload("upload", f"file{number}.bin", file)
        digest = hashlib.sha256(file).hexdigest()
        session.until(lambda digest=digest: digest in str(session.values.get("upload_report")), "it has arrived")
        assert f"{worker} (pid {pid})" in html.unescape(str(session.values["upload_report"]))

    for _ in range(3):
        made_by = json.loads(session.download("download"))
        assert (made_by["worker"], made_by["pid"]) == (worker, pid)

    replies = session.replies[asked:]
    assert len(replies) == 16
    assert [reply.set_cookies for reply in replies] == [[]] * 16


def test_the_browser_is_told_an_id_that_names_the_process(demo):
    with session_of(demo, cookies={"sticky": "app2"}) as session:
        assert re.fullmatch(r"app2\.[a-z0-9]{4}-[0-9a-f]{64}", session.id)
        assert session.incarnation == session.output("incarnation") == demo.incarnation("app2")
        session.until(lambda: session.custom.get("sticky-test"), "the route is known")
        session.output("download")
        session.call("uploadInit", [{"name": "x", "size": 1, "type": ""}])
        bare = session.id.rpartition("-")[2]
        told = "\n".join(session.received)
        assert told.count(bare) == told.count(session.id) >= 5
        assert len(re.findall(r"session/app2\.[a-z0-9]{4}-[0-9a-f]{64}/", told)) >= 3


def test_uploads_downloads_and_routes_work_without_any_cookie(demo):
    tally = Tally()
    workers = []
    with contextlib.ExitStack() as open_ones:  # so that the next one comes to a worker that has none yet
        while {*workers} != {"app1", "app2", "app3"}:
            assert len(workers) < 12, workers
            session = open_ones.enter_context(session_of(demo, tally=tally))
            check_everything(session)
            workers.append(session.output("worker"))
    assert not tally.failures, tally
    assert tally.tried["upload"] == tally.tried["download"] == 3 * len(workers)


def test_uploads_downloads_and_routes_ignore_a_cookie_that_names_another_worker(demo):
    for worker, other in (("app1", "app2"), ("app2", "app3"), ("app3", "nonsense")):
        with session_of(demo, cookies={"sticky": worker}) as session:
            assert session.output("worker") == worker
            session.cookies["sticky"] = other
            check_everything(session)
            assert session.cookies == {"sticky": other}


def test_two_tabs_of_one_browser_on_two_workers_work_at_once(demo):
    browser = {"sticky": "app1"}
    tally = Tally()
    with session_of(demo, cookies=browser, tally=tally) as first:
        browser["sticky"] = "app2"
        with session_of(demo, cookies=browser, tally=tally) as second:
            assert (first.output("worker"), second.output("worker")) == ("app1", "app2")
            problems = []

            def use(session: ShinySession) -> None:
                try:
                    check_everything(session)
                except BaseException as problem:
                    problems.append(problem)

            tabs = [threading.Thread(target=use, args=(session,)) for session in (first, second)]
            for tab in tabs:
                tab.start()
            for tab in tabs:
                tab.join()
            assert not problems
    assert browser == {"sticky": "app2"}
    assert not tally.failures, tally


def test_a_session_ends_with_its_process_and_its_urls_say_so(site_of):
    site = site_of({"app": {"target": DEMO, "workers": 3}}).start()
    cookies = {"sticky": "app2"}
    with session_of(site, cookies=cookies) as session:
        job = session.call("uploadInit", [{"name": "x", "size": 1, "type": ""}])
        urls = [job["uploadUrl"], session.output("download"), session.custom["sticky-test"]["url"]]
        # The page's other requests live on; the process that answers them now is no substitute.
        site.back("app2", site.kill("app2"))
        session.until(lambda: session.close_code, "the websocket is closed")
        for url in urls:
            for method in ("GET", "POST"):
                reply = session.try_(url, method=method, body=b"x" if method == "POST" else None)
                assert (reply.status, reply.body, reply.set_cookies) == (410, ENDED, [])
                assert reply.headers["Content-Type"] == "text/plain"
                assert reply.headers["Cache-Control"] == "no-store"
        assert cookies == {"sticky": "app2"}
        session.connect()
        assert session.output("worker") == "app2"
        assert session.incarnation == site.incarnation("app2")
        check_everything(session)


def test_a_shiny_app_that_is_a_part_of_another_app_works_without_cookies(site_of):
    site = site_of({"app": {"target": str(APPS / "inner_app.py"), "workers": 3, "path": "/foo/"}}).start()
    for _ in range(3):
        with ShinySession(site.port, "/foo/inner/", outputs=OUTPUTS, inputs={"clicks:shiny.action": 0}) as session:
            check_everything(session)


def test_a_run_dir_with_a_space_in_its_name_will_do(site_of):
    site = site_of({"app": {"target": DEMO, "workers": 2}}, run_dir="my run")
    site.run_dir = site.folder / "my run"
    site.start()
    for worker, other in (("app1", "app2"), ("app2", "app1")):
        with session_of(site, cookies={"sticky": worker}) as session:
            session.cookies["sticky"] = other
            check_everything(session)


# --- what nginx makes of a session's URL


@pytest.mark.parametrize("cookie", [None, "sticky=app1", "sticky=app3", "sticky=bogus"])
@pytest.mark.parametrize("status", [200, 204, 302, 404, 500, 502, 503])
def test_a_session_url_leads_to_its_process_and_sets_no_cookie_whatever_the_status(echo, cookie, status):
    name = echo.incarnation("app2")
    reply = echo.ask(f"/session/{name}-abc/x?status={status}", cookie=cookie)
    assert (reply.status, reply.set_cookies) == (status, [])
    if status == 200:
        assert reply.json["incarnation"] == name


def test_a_session_url_arrives_byte_for_byte_but_for_its_tag(echo):
    name = echo.incarnation("app4")
    for method in ("GET", "POST", "PUT", "DELETE"):
        seen = echo.ask(f"/session/{name}-abc/a%2Fb/%20//c%C3%A9?x=%2F&y=a+b", method=method, body=b"12345").json
        assert (seen["incarnation"], seen["method"], seen["size"]) == (name, method, 5)
        assert (seen["raw_path"], seen["query"]) == ("/session/abc/a%2Fb/%20//c%C3%A9", "x=%2F&y=a+b")
        assert seen["path"] == "/session/abc/a/b/ //cé"


def test_a_session_url_is_forwarded_as_any_other(echo):
    name = echo.incarnation("app3")
    claims = dict.fromkeys(itertools.chain(*IDENTITY_HEADERS.values()), '{"user": "boss"}')
    claims |= {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Other": "passes"}
    session, page = (
        echo.ask(path, cookie="sticky=app3", headers=claims).json for path in (f"/session/{name}-x/", "/")
    )
    for seen in (session, page):
        assert (seen["client"], seen["scheme"]) == ("127.0.0.1", "http")
        assert "boss" not in str(seen["headers"])
    assert session["headers"] == page["headers"]


def test_an_upload_to_a_session_url_has_the_limit_of_its_app(site_of):
    site = site_of({"app": {"target": ECHO, "workers": 1, "max_upload": "3MB"}}).start()
    url = f"/session/{site.incarnation('app1')}-x/upload/y"
    body = os.urandom(3 << 20)
    seen = site.ask(url, method="POST", body=body).json
    assert (seen["size"], seen["sha256"]) == (3 << 20, hashlib.sha256(body).hexdigest())
    try:
        status = site.ask(url, method="POST", body=body + b"!").status
    except (BrokenPipeError, ConnectionResetError):  # nginx need not read to the end what it refuses
        status = 413
    assert status == 413


def test_a_websocket_below_a_session_url_leads_to_its_process(echo):
    name = echo.incarnation("app2")
    connection = echo.websocket(f"/session/{name}-x/ws", cookie="sticky=app1")
    assert json.loads(connection.recv())["incarnation"] == name
    assert "set-cookie" not in connection.getheaders()
    connection.close()


def test_a_worker_beyond_the_table_still_serves_its_sessions(echo):
    reply = echo.ask("/session/app77.gone-x/y", cookie="sticky=app1")
    assert (reply.status, reply.body, reply.set_cookies) == (200, b"still draining", [])


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "HEAD"])
@pytest.mark.parametrize("name", ["app1.zzzz", "app4.0000", "app5.k3f9", "app99.k3f9", "app999.k3f9", "app1.sock"])
@pytest.mark.parametrize("cookie", [None, "sticky=app1", "sticky=bogus"])
def test_the_url_of_a_process_that_is_gone_is_answered_by_nobody_else(echo, name, method, cookie):
    reply = echo.ask(f"/session/{name}-abc/download/x", cookie=cookie, method=method)
    assert (reply.status, reply.set_cookies) == (410, [])
    assert reply.body == (b"" if method == "HEAD" else ENDED)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_a_process_that_goes_away_in_the_middle_is_replaced_by_nobody(site_of, tmp_path, method):
    notes = tmp_path / "notes"
    site = site_of({"app": {"target": ECHO, "workers": 2, "env": {"NOTES": str(notes)}}}).start()
    url = f"/session/{site.incarnation('app2')}-x/y?note=begun&die=1"
    reply = site.ask(url, cookie="sticky=app2", method=method, body=b"1")
    assert (reply.status, reply.body, reply.set_cookies) == (410, ENDED, [])
    assert notes.read_text().splitlines() == [f"{method} begun app2"]


@pytest.mark.parametrize(
    "url",
    [
        # {name} is a living process; only its very name, with what follows it, leads there
        "/session/{name}",
        "/session/{name}/x",
        "/session/{name}.sock-x/",
        "/session/{name}x-x/",
        "/session/x{name}-x/",
        "/session/ {name}-x/",
        "/session/-{name}-x/",
        "/session/{NAME}-x/",
        "/session/{name}%00-x/",
        "/session/{name}%2D/../x",
        "/session/./../{name}-x/",
        "/session/../{name}-x/",
        "/session/..%2F{name}-x/",
        "/session/%2e%2e%2f{name}-x/",
        "/session/..%5C{name}-x/",
        "/session/..%252F{name}-x/",
        "/session/x/{name}-x/",
        "/session/%2525{name}-x/",
        "/sessions/{name}-x/",
        "/xsession/{name}-x/",
        "/SESSION/{name}-x/",
        "/session{name}-x/",
        "/session/{worker}-x/",
        "/session/{worker}.-x/",
        "/session/app-x/",
        "/session/app.k3f9-x/",
        "/session/app0.k3f9-x/",
        "/session/app02.k3f9-x/",
        "/session/app1000.k3f9-x/",
        "/session/app-1.k3f9-x/",
        "/session/app1.k3f-x/",
        "/session/app1.k3f99-x/",
        "/session/app1.K3F9-x/",
        "/session/app1.k3f_-x/",
        "/session/app1.%C3%A93f9-x/",
        "/session/app1%2Fk3f9-x/",
        "/session/app1/.k3f9-x/",
        "/session/app1xk3f9-x/",
        "/session/app1..k3f9-x/",
        "/session/app1.../-x/",
        "/session/app1.k3f9.sock-x/",
        "/session/app\u0661.k3f9-x/",
        "/session/$sticky_app.k3f9-x/",
        "/session/$sticky_incarnation-x/",
        "/session/nginx-x/",
        "/session/nobody1.k3f9-x/",
        "/session/" + "a" * 3000 + "1.k3f9-x/",
        "/session/" + "0123456789abcdef" * 4 + "/download/x",
        "/?/session/{name}-x/",
        "/#/session/{name}-x/",
    ],
)
def test_what_is_no_name_of_a_process_is_routed_by_the_cookie(echo, url):
    name = echo.incarnation("app2")
    url = url.replace("{name}", name).replace("{NAME}", name.upper()).replace("{worker}", "app2")
    raw = url.encode().replace(b" ", b"%20")
    request = b"GET " + raw + b" HTTP/1.0\r\nHost: here\r\nCookie: sticky=app1\r\n\r\n"
    with socket.create_connection(("127.0.0.1", echo.port), timeout=PATIENCE) as connection:
        connection.sendall(request)
        reply = b"".join(iter(lambda: connection.recv(65536), b""))
    status = int(reply.split(b" ")[1])
    if b"%00" in raw or b"/../" in raw or not raw.isascii():
        assert status in (200, 400), reply  # 400: nginx, or uvicorn behind it, takes it for no URL at all
    else:
        assert status == 200, reply
    if status == 200:
        seen = json.loads(reply[reply.index(b"{") : reply.rindex(b"}") + 1])
        assert seen["worker"] == "app1"
        if b"#" not in raw:  # which no browser sends
            assert seen["raw_path"].encode() == raw.partition(b"?")[0]


def test_one_apps_sessions_are_nothing_to_another(site_of):
    apps = {
        "app": {"target": ECHO, "workers": 2, "env": {"GREETING": "first"}},
        "other": {"target": ECHO, "workers": 2, "path": "/foo/", "env": {"GREETING": "second"}},
    }
    site = site_of(apps).start()
    app, other = site.incarnation("app2"), site.incarnation("other2")
    cookie = "sticky=app1; sticky_other=other1"
    for url, who in (
        (f"/session/{app}-x/", app),
        (f"/foo/session/{other}-x/", other),
        (f"/session/{other}-x/", site.incarnation("app1")),
        (f"/foo/session/{app}-x/", site.incarnation("other1")),
        ("/foo/session/app9.k3f9-x/", site.incarnation("other1")),
        ("/session/other9.k3f9-x/", site.incarnation("app1")),
    ):
        reply = site.ask(url, cookie=cookie)
        assert (reply.status, reply.set_cookies) == (200, [])
        assert reply.json["incarnation"] == who
    assert site.ask("/foo/session/other9.k3f9-x/", cookie=cookie).status == 410
    assert site.ask("/session/app9.k3f9-x/", cookie=cookie).status == 410
    seen = site.ask(f"/foo/session/{other}-x/", cookie=cookie).json
    assert (seen["root_path"], seen["path"], seen["raw_path"]) == ("/foo", "/foo/session/x/", "/foo/session/x/")


def test_an_app_named_like_anothers_worker_keeps_its_sessions_to_itself(site_of):
    apps = {
        "app": {"target": ECHO, "workers": 2},
        "app1": {"target": ECHO, "workers": 2, "path": "/foo/"},
    }
    site = site_of(apps).start()
    app, other = site.incarnation("app1"), site.incarnation("app12")
    cookie = "sticky=app2; sticky_app1=app11"
    for url, who in (
        (f"/session/{app}-x/", "app1"),
        (f"/session/{other}-x/", "app2"),
        (f"/foo/session/{other}-x/", "app12"),
        (f"/foo/session/{app}-x/", "app11"),
    ):
        assert site.ask(url, cookie=cookie).worker == who
    assert site.ask("/session/app10.k3f9-x/", cookie=cookie).status == 410


# --- websockets that are not Shiny's

ID = hashlib.sha256().hexdigest()
CONFIG = json.dumps({"config": {"workerId": "", "sessionId": ID, "user": None}})


@pytest.mark.parametrize(
    "messages",
    [
        ["config", CONFIG, ID],
        ["", CONFIG, ID],
        [CONFIG.encode(), CONFIG, ID],
        ['{"config": 1}', CONFIG],
        ['{"config": {"sessionId": 1}}', CONFIG],
        ['{"config": {"sessionId": null}}', CONFIG],
        ['{"config": {"sessionId": ""}}', "x"],
        ['{"config": {"sessionId": "1"}}', '{"1": "11"}'],
        ['{"config": {"sessionId": "config of it"}}', "config of it"],
        ['{"sessionId": "' + ID + '"}', ID],
        ['[{"config": {"sessionId": "' + ID + '"}}]', ID],
        ['"sessionId"', CONFIG],
        [CONFIG[:-1], ID],
        ["[" * 100_000 + '"sessionId"', ID],
        [b"\0\xff", "é\u2028", b""],
    ],
    ids=lambda messages: str(messages)[:40],
)
def test_websockets_of_other_apps_pass_untouched(parrot, messages):
    connection = parrot.websocket("/")
    for message in messages:
        binary = isinstance(message, bytes)
        connection.send(message, websocket.ABNF.OPCODE_BINARY if binary else websocket.ABNF.OPCODE_TEXT)
        opcode, data = connection.recv_data()
        assert (opcode == websocket.ABNF.OPCODE_BINARY) == binary
        assert data == (message if binary else message.encode())
    connection.close()


@pytest.fixture(scope="module")
def parrot():
    with Site({"app": {"target": str(APPS / "parrot.py"), "workers": 1}}) as site:
        yield site.start()


def test_after_shinys_first_message_text_is_tagged_and_bytes_are_not(parrot):
    tag = parrot.incarnation("app1") + "-"
    connection = parrot.websocket("/")

    def said(message):
        connection.send(message, websocket.ABNF.OPCODE_BINARY if isinstance(message, bytes) else 1)
        return connection.recv_data()[1].decode()

    assert said(CONFIG) == CONFIG.replace(ID, tag + ID)
    assert said(f"session/{ID}/x session/{tag}{ID}/x") == f"session/{tag}{ID}/x session/{tag}{ID}/x"
    assert said(f"session/{ID}/x".encode()) == f"session/{ID}/x"
    assert said("none here") == "none here"
    connection.close()


# --- the middleware by itself

TAG = "app2.k3f9-"


def sent_through(messages: list[dict], scope: dict | None = None) -> list[dict]:
    """What becomes of an app's messages."""
    arrived = []

    async def send(message):
        arrived.append(message)

    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    asyncio.run(SessionTagMiddleware(app, TAG[:-1])(scope or {"type": "websocket", "path": "/"}, None, send))
    return arrived


def text(content: str) -> dict:
    return {"type": "websocket.send", "text": content}


pieces = st.sampled_from(
    [ID, TAG, TAG + ID, ID[:32], ID[32:], "app2.k3f9", "app1.aaaa-", "-", "/", '"', "session/"]
)
texts = st.lists(pieces | st.text(max_size=5), max_size=12).map("".join)


@given(st.lists(texts, max_size=4))
@example([ID[:32], ID[32:]])
@example([ID + ID, TAG + TAG + ID, ID[:-1]])
def test_every_id_gets_one_tag_and_nothing_else_changes(contents):
    first, *rest = sent_through([text(content) for content in (CONFIG, *contents)])
    assert json.loads(first["text"])["config"]["sessionId"] == TAG + ID
    assert len(rest) == len(contents)
    for content, message in zip(contents, rest, strict=True):
        assert message["text"].replace(TAG + ID, ID) == content.replace(TAG + ID, ID)
        assert message["text"].count(ID) == message["text"].count(TAG + ID) == content.count(ID)
    again = sent_through([text(CONFIG), *rest])
    assert again[1:] == rest, "what has its tag gets no second one"


@given(st.text())
def test_no_text_is_too_strange_to_be_asked_for_an_id(content):
    assert session_id(content) == ""
    assert session_id(f'{{"sessionId": {json.dumps(content)}}}') == ""


def test_what_needs_no_tag_is_passed_on_as_the_same_object():
    messages = [
        {"type": "websocket.accept", "headers": [(b"x", ID.encode())]},
        text(CONFIG),
        text("no id"),
        {"type": "websocket.send", "bytes": ID.encode()},
        {"type": "websocket.send", "bytes": ID.encode(), "text": None},
        {"type": "websocket.close", "code": 1000, "reason": ID},
    ]
    before = [dict(message) for message in messages]
    arrived = sent_through(messages)
    assert [there is here for here, there in zip(messages, arrived, strict=True)] == [True, False, *[True] * 4]
    assert messages == before, "an app's own message is not changed"


def test_each_websocket_has_an_id_of_its_own():
    async def app(scope, receive, send):
        await send(text(CONFIG if scope["path"] == "/shiny" else "hello"))
        await send(text(ID))

    async def run(path: str) -> list[dict]:
        arrived = []

        async def send(message):
            arrived.append(message)

        await tags({"type": "websocket", "path": path}, None, send)
        return arrived

    tags = SessionTagMiddleware(app, TAG[:-1])
    assert asyncio.run(run("/shiny"))[1] == text(TAG + ID)
    assert asyncio.run(run("/other"))[1] == text(ID)


def scope_seen(scope: dict) -> dict:
    """The scope that reaches the app; the objects besides are the server's own."""
    seen = []

    async def app(*arguments):
        seen.append(arguments)

    receive, send = object(), object()
    asyncio.run(SessionTagMiddleware(app, TAG[:-1])(scope, receive, send))
    ((there, *rest),) = seen
    assert rest == [receive, send]
    return there


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"/session/{TAG}{ID}/upload/x", f"/session/{ID}/upload/x"),
        (f"/foo/session/{TAG}{ID}/upload/x", f"/foo/session/{ID}/upload/x"),
        (f"/session/{TAG}{ID}/x/session/{TAG}{ID}/", f"/session/{ID}/x/session/{TAG}{ID}/"),
        (f"/session/{TAG}{TAG}{ID}/x", f"/session/{TAG}{ID}/x"),
    ],
)
def test_a_request_loses_the_processs_own_tag(path, expected):
    scope = {"type": "http", "path": path, "raw_path": path.encode() + b"%20", "root_path": "/foo"}
    before = dict(scope)
    assert scope_seen(scope) == {**before, "path": expected, "raw_path": expected.encode() + b"%20"}
    assert scope == before, "the server's own scope is not changed"
    for left_out in ({}, {"raw_path": None}):  # ASGI allows both
        assert scope_seen({"type": "http", "path": path, **left_out}) == {
            "type": "http",
            "path": expected,
            **left_out,
        }


@pytest.mark.parametrize(
    "scope",
    [
        {"type": "lifespan"},
        {"type": "http", "path": "/"},
        {"type": "http", "path": f"/session/{ID}/upload/x"},
        {"type": "http", "path": f"/session/app2.aaaa-{ID}/upload/x"},
        {"type": "http", "path": f"/session/app1.k3f9-{ID}/upload/x"},
        {"type": "http", "path": f"/session/app2xk3f9-{ID}/upload/x"},
        {"type": "http", "path": f"/session/x{TAG}{ID}/upload/x"},
        {"type": "http", "path": f"/{TAG}{ID}/upload/x"},
    ],
)
def test_all_else_reaches_the_app_as_the_same_object(scope):
    assert scope_seen(scope) is scope


def test_the_worker_runs_on_python_3_9_with_nothing_but_uvicorn_and_the_app():
    """An app's own environment may be older than the launcher's."""
    there = {*sys.stdlib_module_names, "sticky_worker", "uvicorn", "shiny"}
    for file in (ROOT / "shiny_sticky" / "worker").rglob("*.py"):
        tree = ast.parse(file.read_text(), feature_version=(3, 9))
        optional = {
            imported
            for attempt in ast.walk(tree)
            if isinstance(attempt, ast.Try) and "ImportError" in map(ast.unparse, _caught(attempt))
            for imported in attempt.body
        }
        for node in ast.walk(tree):
            if node in optional:
                continue
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names.append(node.module)
            for name in names:
                assert name.split(".")[0] in there, f"{file.name}: {name}"


def _caught(attempt: ast.Try) -> list[ast.expr]:
    return [handler.type for handler in attempt.handlers if handler.type is not None]
