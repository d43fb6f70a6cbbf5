"""What an app under another user finds in its environment: what is that user's, and nothing of root's."""

import pwd

import pytest

from support.other_user import USER, hostile_site, needs_root, program

ENVIRONMENT = """
answer_before = answer
async def answer(scope, receive, send):
    ME["environment"] = dict(os.environ)
    ME["groups"] = os.getgroups()
    await answer_before(scope, receive, send)
"""


@needs_root
@pytest.mark.parametrize("preload", [True, False])
def test_an_app_gets_its_users_environment_and_not_roots(site_of, preload):
    site = hostile_site(site_of, ENVIRONMENT)
    app = site.settings["apps"]["app"]
    app["preload"] = preload
    app["env"]["GREETING"] = "hello"
    site.write()
    site.env |= {
        "HOME": "/root",
        "USER": "root",
        "LOGNAME": "root",
        "AWS_SECRET_ACCESS_KEY": "root's",
        "SSH_AUTH_SOCK": "/run/root.sock",
        "SUDO_USER": "ann",
        "LC_ALL": "C.UTF-8",
        "LANG": "C.UTF-8",
        "TZ": "Europe/Berlin",
    }
    site.start(program=program(site))
    seen = site.ask().json
    found = seen["environment"]
    kept = {name: found.pop(name) for name in ("PATH", "LC_ALL", "LANG", "TZ")}
    assert kept == {name: site.env[name] for name in kept}
    names = (found.pop("HOME"), found.pop("USER"), found.pop("LOGNAME"))
    assert names == (pwd.getpwnam(USER).pw_dir, USER, USER)
    assert found.pop("GREETING") == "hello"
    assert found.pop("PYTHONPATH") == "packages"
    assert found.pop("STICKY_WORKER") == "app1"
    assert found.pop("STICKY_INCARNATION") == site.incarnation("app1")
    assert found.pop("STICKY_SHARED") == str(site.run_dir / "shared" / "app")
    assert found.keys() <= {"LC_CTYPE"}, "Python's own"
    assert 0 not in seen["groups"]
