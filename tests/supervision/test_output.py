"""What an app prints reaches the launcher's standard output and standard error, told apart."""

import pytest

from support.echo_site import write_app
from support.real_site import LAUNCHER, until

LOUD = """
import sys
print("imported", file=sys.stderr)
me_before = me
def me():
    print("to stdout")
    print("to stderr", file=sys.stderr)
    return me_before()
"""


@pytest.mark.parametrize("preload", [True, False])
def test_stdout_and_stderr_of_an_app_are_told_apart(site_of, preload):
    site = site_of({"app": {"target": "app.py", "workers": 1, "preload": preload}})
    errors = site.folder / "errors"
    write_app(site, LOUD)
    site.start(program=["sh", "-c", f'exec "$0" "$@" 2>{errors}', *LAUNCHER])
    site.ask(cookie="sticky=app1")
    site.says(r"^app1 +\| to stdout$")
    until(lambda: "to stderr" in errors.read_text(), "the errors arrive")
    assert [line.split("| ")[1] for line in errors.read_text().splitlines()] == ["imported", "to stderr"]
    assert not site.said("to stderr|imported")
