"""SECURITY.md is true: each line names a test, and each test that it names is there and runs."""

import re

import pytest

from support.real_site import ROOT, TESTS

TEXT = (ROOT / "SECURITY.md").read_text()
NAMED = sorted(set(re.findall(r"`([a-z_]+/test_[a-z_]+\.py)`", TEXT)))


@pytest.mark.parametrize("file", NAMED)
def test_each_test_that_is_named_is_there(file):
    assert re.search(r"^def test_", (TESTS / file).read_text(), re.MULTILINE)


def test_each_promise_names_its_test():
    tables = re.findall(r"^\|[^\n]*\| held by \|\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    rows = [row for table in tables for row in table.splitlines()]
    assert len(rows) > 30
    assert [row for row in rows if not re.search(r"`[a-z_]+/test_[a-z_]+\.py`", row)] == []


def test_every_test_of_an_attack_is_named():
    """A file of tests that is about what somebody must not be able to do belongs into the document."""
    attacks = {f"{file.parent.name}/{file.name}" for file in TESTS.rglob("test_*hostile*.py")}
    assert attacks <= set(NAMED)
