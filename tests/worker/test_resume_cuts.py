"""Sessions whose connections are cut again and again, or all at once: with the counts of all that went through."""

import os

import pytest

from support.cut_sessions import cut_at_random
from support.real_site import APPS, Site

# More by RESUME_CUTS=1000.
CUTS = int(os.environ.get("RESUME_CUTS", "100"))


@pytest.fixture(scope="module")
def site():
    with Site({"app": {"target": str(APPS / "counting.py"), "workers": 4}}) as shared:
        yield shared.start()


@pytest.mark.slow
def test_cuts_at_random_moments(site):
    counts = cut_at_random(site.port, CUTS)
    print(counts)
    assert not counts.bad, str(counts)
    assert len(counts.resumed) > CUTS // 2  # some cuts meet a connection that does not carry its session yet
