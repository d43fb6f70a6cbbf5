"""Large bodies are taken where they are expected, and nowhere else: each waits on the disk until it is complete."""

import os
import socket

import pytest

from support.real_site import ECHO, Site

MORE = b"x" * ((1 << 20) + 1)


@pytest.fixture(scope="module")
def two():
    apps = {
        "app": {"target": ECHO, "workers": 1, "max_upload": "3MB", "uploads": ["/api/in/", "/import"]},
        "other": {"target": ECHO, "workers": 1, "max_upload": "2MB", "path": "/other/"},
    }
    with Site(apps) as site:
        yield site.start()


def status(site: Site, path: str, body: bytes) -> int:
    """What the answer is to a body."""
    try:
        return site.ask(path, method="POST", body=body).status
    except (BrokenPipeError, ConnectionResetError):  # nginx need not read to the end what it refuses
        return 413


@pytest.mark.parametrize(
    "path",
    ["/", "/api/inn", "/api/", "/import/x", "/session/1234/upload/1", "/lib/x-1.0/upload/", "/other/api/in/"],
)
def test_more_than_a_megabyte_is_taken_from_nobody_elsewhere(two, path):
    assert status(two, path, MORE) == 413
    assert status(two, path, MORE[1:]) == 200


@pytest.mark.parametrize("path", ["/api/in/", "/api/in/deep/er", "/import", "/import?a=b"])
def test_the_settings_name_other_paths(two, path):
    body = os.urandom(3 << 20)
    reply = two.ask(path, method="POST", body=body)
    assert (reply.status, reply.json["size"], reply.worker) == (200, len(body), "app1")
    assert status(two, path, body + b"x") == 413


@pytest.mark.parametrize(("app", "path", "limit"), [("app", "/", 3 << 20), ("other", "/other/", 2 << 20)])
def test_shinys_file_inputs_take_max_upload(two, app, path, limit):
    incarnation = two.incarnation(f"{app}1")
    url = f"{path}session/{incarnation}-{'0' * 64}/upload/1234?w="
    reply = two.ask(url, method="POST", body=b"x" * limit)
    assert (reply.status, reply.json["size"]) == (200, limit)
    assert status(two, url, b"x" * (limit + 1)) == 413
    assert status(two, f"{path}session/{incarnation}-{'0' * 64}/download/1", MORE) == 413


def test_an_upload_to_a_session_that_is_gone_is_told_so(two):
    reply = two.ask(f"/session/app1.zzzz-{'0' * 64}/upload/1", method="POST", body=MORE)
    assert (reply.status, reply.body) == (410, b"This session has ended. Please reload the page.\n")


def test_unfinished_bodies_of_visitors_fill_no_disk(two):
    """Twenty that say they are large are refused at once, before a byte of them has come."""
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", two.port), timeout=60) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 3000000\r\n\r\n")
            assert b" 413 " in connection.recv(65536).split(b"\r\n")[0]
    assert not list((two.run_dir / "tmp" / "client_body").iterdir())


def test_a_path_of_another_app_is_no_place_for_uploads(site_of):
    site = site_of({"app": {"target": ECHO, "path": "/a/", "uploads": ["/b/"]}})
    failed = site.command("--check", str(site.config))
    assert failed.returncode == 2
    assert "apps.app.uploads.0: /b/ is not below the app's path, /a/" in failed.stderr
