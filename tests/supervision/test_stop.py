"""A stop is a stop, whatever the launcher is doing at that moment."""

import signal

import pytest

from support.real_site import ECHO


@pytest.mark.parametrize("attempt", [0, *(pytest.param(again, marks=pytest.mark.slow) for again in (1, 2))])
def test_a_stop_in_the_moment_that_a_worker_is_started_again(site_of, attempt):
    """The launcher finds out about both at once: that a worker has died, and that it is to stop."""
    site = site_of({"app": {"target": ECHO, "workers": 4}}).start()
    site.launcher.send_signal(signal.SIGSTOP)
    site.kill("app2")
    for _ in range(12):
        site.ask()
    site.launcher.send_signal(signal.SIGCONT)
    assert site.stop() == 0
    site.check_nothing_left()
