"""Requests made up at random, sent to a site, and what must hold of every answer.

What is made up is the Cookie header, the request line, or both Accept headers; the rest of a request is plain. A
seed makes the same requests again.
"""

from __future__ import annotations

import http.client
import json
import random
import re
import time
from collections import Counter

from support.decoding import DECODERS
from support.raw_http import Answer, Request, exchange
from support.real_site import APPS, Site
from support.routing_rule import rule

# Seconds that an answer may take, on a machine that does much else.
TIMEOUT = 60

APP = str(APPS / "kept_app.py")
KEPT = "/kept/"

# What nginx, or a worker, answers to what it does not take. Nothing is wrong on the server's side.
REFUSED = {400, 404, 405, 410, 414, 494, 501, 505}

# What is made up is made of these; white space, and bytes that are no text, come on top.
BLANK = [b" ", b"\t", b"\xff", b"\xc2\xa0"]

COOKIE_PIECES = rb"""
    sticky= sticky = ; ; , " STICKY= sticky.2= app1 app2 app3 app4 app0 app5 app01 app1.sock app_pool app 1
    ../ / unix: $1 %61pp1 a=b
""".split()
COOKIE_PIECES += [*BLANK, b"; ", b"\x0b", b"\x7f"]

METHODS = [b"GET"] * 10 + b"HEAD POST PUT DELETE OPTIONS PATCH TRACE CONNECT PRI get".split()
METHODS += [b"G\tET", b"GET ", b"\xff", b"A" * 40, b""]

VERSIONS = [b" HTTP/1.1"] * 30
VERSIONS += [b" HTTP/1.0", b" HTTP/1.2", b" HTTP/2.0", b" HTTP/0.9", b" http/1.1", b" HTTP/11", b""]
VERSIONS += [b" HTTP/1.1 ", b"  HTTP/1.1", b" HTTP/1.1 x"]

SCHEMES = [b""] * 9 + [b"http://here", b"https://elsewhere:8", b"x:", b"unix:/run/app1.sock:"]

PATH_PIECES = rb"""
    / // /. /.. /../ .. %2f %2e%2e/ %00 % %zz ? & # ; \ ' " x session /session/ app1. app9.aaaa- kept/ /kept/a.js
    lib/ $uri ${host} @sticky_again sticky-unavailable.html
""".split()
PATH_PIECES += [*BLANK, b"a" * 500]

ACCEPT_PIECES = b"gzip br zstd deflate identity * GZIP x-gzip brr vbr".split() * 3
ACCEPT_PIECES += b", , , , ; ; q=0 q=1 q=0.0 q=0.5 Q=0 q= = - _ text/html */*".split()
ACCEPT_PIECES += [*BLANK, b", ", b"; "]


class Fuzzer:
    """Sends requests to a site that serves `APP` with a worker or more, and checks each answer.

    Args:
        site: started, and left alone by others.
        seed: of what is made up.

    Attributes:
        asked: how many requests of each kind had which status.
    """

    def __init__(self, site: Site, seed: int) -> None:
        self.asked: Counter[str] = Counter()
        self._port = site.port
        self._seed = seed
        self._random = random.Random(seed)
        self._workers = site.workers()
        self._processes = [site.incarnation(worker) for worker in self._workers]
        self._kinds = {
            "cookie": (self._cookie, self._check_cookie),
            "line": (self._line, self._check_line),
            "accept": (self._accept, self._check_accept),
        }

    def run(self, seconds: float) -> None:
        """Go on for some time.

        Raises:
            AssertionError: an answer is not as it must be. It names the seed and the request.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            kind = self._random.choice(list(self._kinds))
            make, check = self._kinds[kind]
            request = make()
            try:
                answer = exchange(request, self._port, TIMEOUT)
                check(request, answer)
            except (AssertionError, OSError, http.client.HTTPException) as error:
                asked = f"{request.raw[:2000]!r} ({len(request.raw)} bytes)"
                raise AssertionError(f"seed {self._seed}: {asked}: {error!r}") from error
            self.asked[f"{kind} {answer.status}"] += 1

    # --- any Cookie header leads where the rule says, for pages and for websockets

    def _cookie(self) -> Request:
        lines = self._random.choice((1, 1, 1, 2))
        headers = [b"Cookie: " + self._bytes(COOKIE_PIECES, longest=6000) for _ in range(lines)]
        if self._random.random() < 0.2:
            headers.append(b"Upgrade: websocket")
        return Request(b"GET / HTTP/1.1", tuple(headers))

    def _check_cookie(self, request: Request, answer: Answer) -> None:
        assert answer.status in {200, 400}, answer
        if answer.status == 200:
            worker = json.loads(answer.body)["worker"]
            named, sets = rule(b"; ".join(request.values(b"Cookie")), self._workers)
            assert worker == named or (named is None and worker in self._workers), answer
            assigned = [value.split(";")[0] for value in answer.values("set-cookie")]
            assert assigned == ([f"sticky={worker}"] if sets else []), answer

    # --- any request line has an answer; one that names a process's session is answered by that process

    def _line(self) -> Request:
        choose = self._random.choice
        start = f"/session/{choose(self._processes)}-" if self._random.random() < 0.3 else "/"
        target = start.encode() + self._bytes(PATH_PIECES, longest=9000)
        return Request(choose(METHODS) + b" " + choose(SCHEMES) + target + choose(VERSIONS))

    def _check_line(self, request: Request, answer: Answer) -> None:
        assert answer.status in REFUSED | {0, 200}, answer
        for cookie in answer.values("set-cookie"):
            assert re.match(r"sticky=app[1-4]; ", cookie), answer
        session = re.fullmatch(rb"GET /session/([a-z0-9.]+)-[a-z]{0,5000} HTTP/1\.1", request.line)
        if session and session[1].decode() in self._processes:
            assert answer.status == 200, answer
            assert json.loads(answer.body)["incarnation"] == session[1].decode()

    # --- any Accept and Accept-Encoding headers have the whole file, in an encoding that they name

    def _accept(self) -> Request:
        lines = self._random.choice((0, 1, 1, 1, 2))
        headers = [b"Accept-Encoding: " + self._bytes(ACCEPT_PIECES, longest=500) for _ in range(lines)]
        headers.append(b"Accept: " + self._bytes(ACCEPT_PIECES, longest=500))
        return Request(f"GET {KEPT}{self._random.choice('abc')}.js HTTP/1.1".encode(), tuple(headers))

    def _check_accept(self, request: Request, answer: Answer) -> None:
        assert answer.status in {200, 400}, answer
        if answer.status == 200:
            (encoding,) = answer.values("content-encoding") or [None]
            path = request.line.split()[1]
            assert DECODERS[encoding](answer.body) == (b"// " + path + b"\n") * 200, answer
            accepted = b",".join(request.values(b"Accept-Encoding")).lower()
            assert encoding is None or takes(accepted, encoding), answer

    def _bytes(self, pieces: list[bytes], longest: int) -> bytes:
        """Something made of pieces, and now and then of any bytes that a line may hold; rarely very long."""
        chance = self._random
        parts = [
            chance.choice(pieces) if chance.random() < 0.95 else chance.randbytes(4).translate(None, b"\0\r\n")
            for _ in range(chance.randrange(12))
        ]
        if parts and chance.random() < 0.03:
            parts += [chance.choice(parts)] * (longest // max(1, len(b"".join(parts))))
        return b"".join(parts)


def takes(header: bytes, encoding: str) -> bool:
    """Whether an Accept-Encoding header may be read as one that takes an encoding: RFC 9110, section 12.5.3.

    It must name it; and if it is well formed, once at least with a weight above 0.
    """
    if encoding.encode() not in header:
        return False
    token = rb"[!#$%&'*+.^_`|~0-9a-z-]+"
    member = rb"[ \t]*(?:" + token + rb"(?:[ \t]*;[ \t]*q=(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?)?[ \t]*"
    if not re.fullmatch(member + rb"(?:," + member + rb")*", header):
        return True
    members = [each.partition(b";") for each in header.split(b",")]
    # x-gzip is gzip; other names that end in one behind a hyphen are no codings: RFC 9110, section 8.4.1.3.
    named = re.compile(rb"\b" + encoding.encode() + rb"\b")
    weights = [weight for name, _, weight in members if named.search(name)]
    return not weights or not all(re.search(rb"q=0(?:\.0*)?[ \t]*$", weight) for weight in weights)
