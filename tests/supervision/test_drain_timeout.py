"""How long a process gives its sessions is settled at its start: later deploys, refused or not, cut nobody off."""

import time

from support.echo_site import Sessions, echo_site, write_app

# Seconds: more than the launcher grants a process beyond a drain_timeout of 1 s (incarnation.STOP_SECONDS, MARGIN).
LONGER = 7


def test_a_drain_timeout_holds_for_the_processes_that_were_started_with_it(site_of):
    """One session's worker is replaced after a refused deploy, another's by a good one; both asked for 1 s."""
    site = echo_site(site_of, deploy={"drain_timeout": 3600})
    sessions = Sessions(site, ["app1", "app2"])
    site.settings["deploy"]["drain_timeout"] = 1
    site.write()
    write_app(site, "import numpie")
    assert site.command("reload", str(site.config)).returncode == 1
    site.restart("app1")
    write_app(site)
    site.reload()
    end = time.monotonic() + LONGER
    while time.monotonic() < end:
        assert sessions.live()
    sessions.close()


def test_a_lower_drain_timeout_holds_from_the_next_process_on(site_of):
    site = echo_site(site_of, deploy={"drain_timeout": 3600})
    site.settings["deploy"]["drain_timeout"] = 1
    site.write()
    site.reload()
    session = site.websocket(cookie="sticky=app1")
    session.recv()
    site.restart("app1")
    began = time.monotonic()
    opcode, reason = session.recv_data()
    assert (opcode, int.from_bytes(reason[:2], "big")) == (8, 1012), "closed with: service restart"
    assert time.monotonic() - began < 60
