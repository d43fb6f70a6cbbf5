"""Who reads nginx's logs cannot use another one's session."""

import pytest

from support.real_site import ECHO, Site, until

ID = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def site():
    with Site({"app": {"target": ECHO, "workers": 1}}) as shared:
        yield shared.start()


def logged(site: Site, path: str, method: str = "GET") -> str:
    """The line that a request leaves in the access log; the path must have a word of its own at its end."""
    site.ask(path, method=method, body=b"x" if method == "POST" else None)
    word = path.rpartition("/")[2]
    log = site.run_dir / "nginx-access.log"
    lines = until(lambda: [line for line in log.read_text().splitlines() if word in line], "it is logged")
    return lines[0]


def test_the_access_log_has_four_digits_of_a_sessions_id(site):
    name = site.incarnation("app1")
    line = logged(site, f"/session/{name}-{ID}/upload/one?w=", "POST")
    assert f'"POST /session/{name}-0123.../upload/one?w= HTTP/1.1" 200 ' in line


@pytest.mark.parametrize(
    ("path", "word"),
    [
        (f"/session/{ID}/download/two", "/session/0123.../download/two"),
        (f"/session/app1.zzzz-{ID}/three", "/session/app1.zzzz-0123.../three"),
        (f"/deep/session/app1.zzzz-{ID}/four", "/deep/session/app1.zzzz-0123.../four"),
        (f"/?from=/session/app1.zzzz-{ID}/five", "/?from=/session/app1.zzzz-0123.../five"),
    ],
)
def test_also_where_it_stands_elsewhere_or_has_no_process(site, path, word):
    line = logged(site, path)
    assert word in line
    assert ID[4:] not in line


@pytest.mark.parametrize("path", ["/session/list/six", "/sessions/0123456789abcdef0123/seven", "/eight?a=%20b"])
def test_all_else_is_logged_as_it_came(site, path):
    assert f'"GET {path} HTTP/1.1"' in logged(site, path)


def test_the_error_log_has_no_session(site):
    """Neither of one that is gone, nor of one that sends too much or dies meanwhile."""
    name = site.incarnation("app1")
    assert site.ask(f"/session/app1.zzzz-{ID}/x").status == 410
    assert site.ask(f"/session/{name}-{ID}/x", method="POST", body=b"x" * 1_500_000).status == 413
    pid = site.pid("app1")
    assert site.ask(f"/session/{name}-{ID}/x?die=1").status == 410
    site.back("app1", pid)
    assert site.ask(method="POST", body=b"x" * 1_500_000).status == 413
    log = site.run_dir / "nginx-error.log"
    until(lambda: "too large body" in log.read_text(), "nginx logs other errors")
    assert ID[4:] not in log.read_text()
