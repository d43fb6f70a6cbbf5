"""Who comes to what is in run_dir when root has workers run as somebody else: that user, and the socket group."""

import json
import pwd
import subprocess

import pytest

from support.other_user import USER, hostile_site, needs_root, program
from support.real_site import Site, until
from support.waiting_visitors import Waiting

# Prints what in a folder a process can list, read or connect to; the names come with it, for it may not list them.
ATTEMPTS = """
import json, os, socket, sys
folder, names = sys.argv[1], sys.argv[2:]
done = []
try:
    os.listdir(folder)
    done.append("list")
except OSError:
    pass
for name in names:
    path = os.path.join(folder, name)
    try:
        if name.endswith(".sock"):
            socket.socket(socket.AF_UNIX).connect(path)
        else:
            os.listdir(path) if os.path.isdir(path) else open(path).close()
        done.append(name)
    except OSError:
        pass
print(json.dumps(done))
"""

# The links by which new visitors come to a lone worker.
SEATS = {"pool/app1.sock", "pages/app.1.sock", "sessions/app.1.sock", "next/app.1.sock"}

# Members of this have no files of their own anywhere.
OTHER_GROUP = "games"


def reached(site: Site, user: str, gid: int) -> set[str]:
    """What a user with one group can reach in run_dir; those that lead on are not named: what is in them is."""
    names = [str(file.relative_to(site.run_dir)) for file in site.run_dir.rglob("*")]
    run = subprocess.run(
        ["/usr/bin/python3", "-c", ATTEMPTS, site.run_dir, *names],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        user=user,
        group=gid,
        extra_groups=[],
    )
    return set(json.loads(run.stdout))


@needs_root
def test_the_users_group_reaches_nothing(site_of):
    site = hostile_site(site_of, "")
    site.run_dir.mkdir()
    (site.run_dir / "nginx-access.log").write_text("by an earlier version\n")
    (site.run_dir / "nginx-access.log").chmod(0o644)
    site.start(program=program(site))
    site.ask()
    user = pwd.getpwnam(USER)
    assert reached(site, "daemon", user.pw_gid) <= {"unavailable.html"}
    assert reached(site, "daemon", pwd.getpwnam("daemon").pw_gid) == set()
    sockets = {"app1.sock", *SEATS, f"{site.incarnation('app1')}.sock"}
    assert sockets <= reached(site, USER, user.pw_gid), "nginx is that user's"


@needs_root
@pytest.mark.parametrize("switches", [True, False])
def test_the_socket_group_reaches_the_sockets_and_nothing_else(site_of, switches):
    site = hostile_site(site_of, "", nginx={"socket_group": OTHER_GROUP})
    if not switches:
        del site.settings["user"]
        site.write()
    site.start(program=program(site))
    assert site.ask().status == 200
    gid = pwd.getpwnam(OTHER_GROUP).pw_gid
    sockets = {"app1.sock", *SEATS, f"{site.incarnation('app1')}.sock"}
    assert reached(site, "daemon", gid) == {*sockets, "unavailable.html"}
    assert reached(site, "daemon", pwd.getpwnam("daemon").pw_gid) <= {"unavailable.html"}
    if switches:
        compressed = site.run_dir / "compressed"
        asked = subprocess.run(
            ["/bin/sh", "-c", f"touch {compressed}/file"],
            user=USER,
            group=pwd.getpwnam(USER).pw_gid,
            extra_groups=[],
            check=False,
        )
        assert asked.returncode == 0, "the workers come to what is theirs"


@needs_root
def test_the_line_for_an_app_that_is_full_is_nginxs_to_ask_for_and_its_key_is_nobodys(site_of):
    """Whoever has the key could let in whom they like."""
    site = hostile_site(site_of, "")
    site.settings["apps"]["app"]["max_sessions"] = 1
    site.write()
    site.start(program=program(site))
    assert until(lambda: Waiting(site).ask().admission, "it is asked for, and there is room")
    user = pwd.getpwnam(USER)
    assert reached(site, USER, user.pw_gid) >= {"app.queue.sock"}, "nginx is that user's"
    assert "waiting.key" not in reached(site, USER, user.pw_gid)
    assert reached(site, "daemon", user.pw_gid) <= {"unavailable.html"}
