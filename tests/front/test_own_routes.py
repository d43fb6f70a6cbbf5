"""An app's own routes are its own, however much they look like Shiny's."""

import http.client

import pytest

from support.real_site import ECHO, Site


@pytest.fixture(scope="module")
def site():
    """An app that is not Shiny's, one below a path, and folders that are kept."""
    apps = {"app": {"target": ECHO, "workers": 2}, "other": {"target": ECHO, "workers": 1, "path": "/other/"}}
    with Site(apps, cache={"paths": ["/img/", "/logo.png", "/other/img/"]}) as shared:
        yield shared.start()


@pytest.mark.parametrize(
    "path", ["/lib", "/img", "/other/lib", "/other/img", "/lib?a=b", "/session", "/logo", "/api"]
)
def test_a_route_without_a_slash_is_reached(site, path):
    """Where an app takes the slash away, a redirect that adds one would never end."""
    reply = site.ask(path)
    assert reply.status == 200
    assert reply.json["path"] == path.partition("?")[0]


@pytest.mark.parametrize(
    "path", ["/lib/", "/lib/books", "/lib/books/", "/lib/e-books/1", "/lib/a-1", "/lib/a-1/x", "/other/lib/x"]
)
def test_what_is_below_lib_is_the_apps_as_it_is(site, path):
    """Nothing asks nginx's cache first, which would take conditions away, and hold a stream back."""
    reply = site.ask(path, cookie="sticky=app2", headers={"If-None-Match": '"1"', "Range": "bytes=0-1"})
    assert reply.json["path"] == path
    assert (reply.json["headers"]["if-none-match"], reply.json["headers"]["range"]) == ('"1"', "bytes=0-1")
    assert site.ask(path, method="HEAD").status == 200


def test_a_stream_below_lib_streams(site, tmp_path):
    go_on = tmp_path / "go-on"
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    connection.request("GET", f"/lib/stream?chunks={go_on}")
    response = connection.getresponse()
    assert response.read1() == b"first"
    go_on.touch()
    assert response.read() == b"second"
    connection.close()
