"""The features of a file's scenarios, served in all the ways that were asked for."""

import pytest

pytest.register_assert_rewrite("support.matrix")

from support.matrix import Matrix  # noqa: E402


@pytest.fixture(scope="module")
def matrix(request, browser):
    """For what is going to be tested of this file, and nothing else: each app takes time to start."""
    wanted = [
        (item.function.feature, item.callspec.params["way"])
        for item in request.session.items
        if item.path == request.path and hasattr(item.function, "feature")
    ]
    with Matrix(browser, wanted) as shared:
        yield shared
