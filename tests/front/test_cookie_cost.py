"""A Cookie header as long as nginx takes costs it hardly more than a harmless one, in time and in memory."""

import json
import math
import re
import socket
import subprocess

import psutil
import pytest

from shiny_sticky.front import nginx_program
from support.cpu_time import cpu_seconds
from support.real_site import ECHO, NGINX, Site, until

LINE = 7900  # bytes that nginx takes in one header line
LINES = 4  # such lines in one request


def filled(piece: str, start: str = "", end: str = "") -> str:
    """A line of a piece over and over."""
    room = LINE - len(start) - len(end)
    return start + (piece * (room // len(piece) + 1))[:room] + end


def with_valid_end(piece: str) -> list[str]:
    """Lines in which the first cookie names no worker and the very last does."""
    return [filled(piece, start="sticky=x;"), *[filled(piece)] * (LINES - 2), filled(piece, end=";sticky=app1")]


HOSTILE = {
    "semicolons": [filled(";", start="sticky=x;")] * LINES,
    "semicolons, then one": [*[filled(";")] * (LINES - 1), filled(";", end=";sticky=x")],
    "semicolons, then a valid one": with_valid_end(";"),
    "names that begin like the cookie's": with_valid_end("stick;"),
    "the name over and over": [filled("sticky=")] * LINES,
    "the name over and over, then a valid one": with_valid_end("sticky="),
    "values that are no worker": [filled("sticky=x;")] * LINES,
    "values that are nearly one": with_valid_end("sticky=app9;"),
    "values that begin with one": with_valid_end("sticky=app1x;"),
    "valid values of another name": [filled("xsticky=app1;", start="sticky=x;")] * LINES,
    "white space between cookies": with_valid_end(" \t"),
    "white space in a value": [filled(" ", start="sticky=x", end="x"), *with_valid_end(" ")[1:]],
    "white space around each": with_valid_end("; "),
    "letters of two bytes": with_valid_end("\xc3\xa9;"),
    "bytes that are no letter": with_valid_end("\xff;"),
    "as long as njs reads": ["sticky=x" + 970 * ";" + "sticky=app1"],
}
HARMLESS = [filled("x", start="a=")] * LINES
SHORT = ["sticky=x"]


@pytest.fixture(scope="module")
def one_nginx():
    """A site whose nginx has one process that serves, so that all is done in that one."""
    with Site({"app": {"target": ECHO, "workers": 2}}, cache=False) as site:
        site.start("--no-nginx")
        site.conf.write_text(re.sub(r"worker_processes +auto", "worker_processes 1", site.conf.read_text()))
        subprocess.run([nginx_program.find(NGINX).path, "-c", str(site.conf)], check=True)
        until(lambda: site.nginx_pid() and psutil.Process(site.nginx_pid()).children(), "nginx runs")
        yield site


def serving(site: Site) -> psutil.Process:
    (process,) = psutil.Process(site.nginx_pid()).children()
    return process


class Client:
    """One connection that asks the same again and again."""

    def __init__(self, site: Site, lines: list[str]) -> None:
        self.process = serving(site)
        self._socket = socket.create_connection(("127.0.0.1", site.port), timeout=60)
        head = ["HEAD / HTTP/1.1", "Host: here", *(f"Cookie: {line}" for line in lines)]
        self._request = "\r\n".join([*head, "", ""]).encode("latin-1")

    def ask(self, times: int) -> float:
        """The seconds of CPU that one request takes nginx."""
        before = cpu_seconds(self.process.pid)
        for _ in range(times):
            self._socket.sendall(self._request)
            reply = b""
            while not reply.endswith(b"\r\n\r\n"):
                piece = self._socket.recv(65536)
                assert piece, "nginx has hung up"
                reply += piece
            # What the worker says to such a header does not matter: it takes 64 KB of headers, or less.
            assert reply.startswith(b"HTTP/1.1 "), reply
        return (cpu_seconds(self.process.pid) - before) / times

    def close(self) -> None:
        self._socket.close()


def is_hardly_more(site: Site, lines: list[str], others: list[str]) -> bool:
    """Whether a request takes nginx less than three times the CPU of another.

    Asked by turns, the best of several rounds each, more where it is close: others use the machine, too.
    """
    clients = [Client(site, lines), Client(site, others)]
    for client in clients:
        client.ask(5)
    best = [math.inf, math.inf]
    for number in range(20):
        best = [min(before, client.ask(30)) for before, client in zip(best, clients, strict=True)]
        if number >= 2 and best[0] < 3 * best[1]:
            break
    for client in clients:
        client.close()
    return best[0] < 3 * best[1]


@pytest.mark.parametrize("lines", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_cookie_costs_hardly_more_than_a_harmless_one_of_its_length(one_nginx, lines):
    assert is_hardly_more(one_nginx, lines, HARMLESS)


@pytest.mark.parametrize("lines", HOSTILE.values(), ids=HOSTILE)
def test_the_longest_line_costs_hardly_more_than_a_short_one(one_nginx, lines):
    assert is_hardly_more(one_nginx, lines[-1:], SHORT)


def test_memory_stays_flat_over_a_thousand_hostile_cookies(one_nginx):
    process = serving(one_nginx)
    clients = [Client(one_nginx, lines) for lines in HOSTILE.values()]
    for client in clients:
        client.ask(3)
    before = process.memory_info().rss
    for _ in range(1000 // len(clients)):  # by turns: nginx hangs up on who says nothing for a minute
        for client in clients:
            client.ask(1)
    assert process.memory_info().rss - before < 2 << 20
    for client in clients:
        client.close()


def test_a_websocket_that_came_with_a_hostile_cookie_holds_hardly_more_than_the_cookie(one_nginx):
    process = serving(one_nginx)
    before = process.memory_info().rss
    sockets = []
    for lines in [*HOSTILE.values()] * 3:
        if lines[-1].isascii():  # uvicorn refuses the others
            cookie = lines[-1].replace("\t", " ")
            sockets.append(one_nginx.websocket(cookie=cookie))
            assert json.loads(sockets[-1].recv())["worker"] in ("app1", "app2")
    assert (process.memory_info().rss - before) / len(sockets) < 10 * LINE
    for each in sockets:
        each.close()
