"""nginx may be away for a while, its program too: no worker and no session pays for that."""

import os
import shutil
import signal

from shiny_sticky.front import nginx_program
from shiny_sticky.front.nginx_process import Front, check_ports
from support.real_site import ECHO, NGINX, until


def test_an_nginx_whose_program_is_being_replaced_ends_no_worker(site_of):
    """As when a package is upgraded at the very moment that nginx crashes."""
    program = shutil.which(NGINX, path=f"{os.environ['PATH']}:/usr/sbin")
    site = site_of({"app": {"target": ECHO, "workers": 2}})
    copy = site.folder / "nginx"
    shutil.copy2(program, copy)
    site.settings["nginx"]["binary"] = str(copy)
    site.write()
    site.start()
    workers = site.table()
    copy.rename(site.folder / "away")
    os.kill(site.nginx_pid(), signal.SIGKILL)
    site.says(r"nginx is started again in 0\.5 s")
    (site.folder / "away").rename(copy)
    site.says("nginx is back")
    until(lambda: site.ask(cookie="sticky=app2").json["pid"] == workers["app2"], "the same workers serve on")
    assert {worker: site.pid(worker) for worker in workers} == workers
    assert site.launcher.poll() is None


def test_an_nginx_that_replaces_its_workers_is_not_taken_for_somebody_elses(site_of):
    """As a deploy might that comes right after another one: the port is its own."""
    site = site_of({"app": {"target": ECHO, "workers": 1}}).start()
    front = Front(nginx_program.find(NGINX), site.conf, site.run_dir, print)
    until(front.adopt_running, "it is known by its title")
    for _ in range(100):
        os.kill(site.nginx_pid(), signal.SIGHUP)
        check_ports([site.settings["listen"]], ours=front.members())
