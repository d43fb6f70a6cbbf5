"""nginx's workers whose master and launcher were killed: they serve on, and a start always gets the place back."""

import os
import shutil
import signal
import subprocess

import psutil
import pytest

from shiny_sticky.front import nginx_family
from support.echo_site import echo_site, write_app
from support.real_site import NGINX, Site, running, until
from support.waiting import answers, free_port


def orphans(site: Site) -> list[int]:
    """Kill launcher and master; gives the pids of nginx's workers, which nobody is left to end."""
    site.remember_processes()
    until(lambda: site.ask().status == 200, "nginx has workers, which come a moment after its ports")
    workers = [child.pid for child in psutil.Process(site.nginx_pid()).children()]
    site.kill_launcher()
    os.kill(site.nginx_pid(), signal.SIGKILL)
    until(lambda: not running(site.nginx_pid()), "the master is dead")
    assert workers and all(map(running, workers))
    return workers


@pytest.mark.parametrize("noted", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_start_gets_the_port_back_after_a_start_that_failed(site_of, noted):
    site = echo_site(site_of, workers=1)
    old = orphans(site)
    write_app(site, "import nowhere")
    if not noted:
        (site.run_dir / "nginx.pid").unlink()
    failed = site.command(str(site.config))
    assert failed.returncode == 1 and "cannot be imported" in failed.stderr
    assert site.ask().status == 200, "those of before serve on"
    assert site.nginx_pid() or not noted, "by which the next start knows them"
    write_app(site, version=2)
    site.start()
    until(lambda: not any(map(running, old)), "they have left")
    assert site.ask().json["version"] == 2
    assert site.stop() == 0
    site.check_nothing_left()


@pytest.mark.slow
def test_orphans_that_do_not_answer_give_the_port_back_too(site_of):
    site = echo_site(site_of, workers=1)
    for pid in orphans(site):
        os.kill(pid, signal.SIGSTOP)
    site.start()
    assert site.ask().status == 200
    assert site.stop() == 0
    site.check_nothing_left()


def test_in_a_container_whose_session_began_outside_other_nginx_are_left_alone(site_of, monkeypatch):
    """For the kernel, all that was started there is of session 0; and 0 is no master's number."""
    site = echo_site(site_of, workers=1)
    monkeypatch.setattr(os, "getsid", lambda _: 0)
    assert nginx_family.members(site.folder / "elsewhere", 0) == []
    assert site.nginx_pid() in {member.pid for member in nginx_family.members(site.run_dir, 0)}


def test_another_nginx_that_has_the_number_by_now_is_left_alone(site_of):
    """As when the machine was started anew, and its own nginx has the number that ours had."""
    site = echo_site(site_of, workers=1)
    assert site.stop() == 0
    other = site.folder / "other"
    (other / "tmp").mkdir(parents=True)
    listener = other / "listener.sock"
    (other / "nginx.conf").write_text(
        f"pid {other}/pid; error_log {other}/log; worker_processes 1; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {other}/tmp/body; proxy_temp_path {other}/tmp/proxy;\n"
        f"fastcgi_temp_path {other}/tmp/f; uwsgi_temp_path {other}/tmp/u; scgi_temp_path {other}/tmp/s;\n"
        f"server {{ listen unix:{listener}; listen 127.0.0.1:{free_port()}; }} }}\n"
    )
    program = shutil.which(NGINX, path=f"{os.environ['PATH']}:/usr/sbin")
    command = [program, "-e", other / "log", "-c", other / "nginx.conf", "-g", "daemon off;"]
    with subprocess.Popen(command, start_new_session=True) as foreign:
        until(lambda: answers(listener), "the other nginx serves")
        (site.run_dir / "nginx.pid").write_text(f"{foreign.pid}\n")
        site.start()
        assert site.nginx_pid() != foreign.pid
        assert site.stop() == 0
        assert foreign.poll() is None and answers(listener)
        assert psutil.Process(foreign.pid).children()
        foreign.terminate()
