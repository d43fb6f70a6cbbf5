"""A network of its own between a browser and a site: a cable that can be unplugged, and addresses that change."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest


def ip(*arguments: str) -> None:
    """Call iproute2's program.

    Raises:
        subprocess.CalledProcessError: it has failed.
    """
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class FarNetwork:
    """Two network namespaces, near and far, and a cable from one to the other: a pair of devices (veth).

    Neither end is where other tests run, whose browsers drop what they are loading when a device comes or goes.
    Use as a context manager; the test is skipped where nobody can make one.

    Attributes:
        address: of the near end, which a site may listen on.
    """

    def __init__(self) -> None:
        name = f"st-{os.getpid()}-{random.randrange(1000)}"
        self._near, self._far = f"{name}-near", f"{name}-far"
        self._net = f"10.{random.randrange(64, 192)}.{random.randrange(256)}"
        self._host = 2
        self.address = f"{self._net}.1"

    def __enter__(self) -> FarNetwork:
        if os.geteuid() != 0 or not shutil.which("ip"):
            pytest.skip("only root, with iproute2, can make a network")
        try:
            for name in (self._near, self._far):
                ip("netns", "add", name)
                ip("-n", name, "link", "set", "lo", "up")
            peer = ("peer", "name", "cable", "netns", self._far)
            ip("-n", self._near, "link", "add", "cable", "type", "veth", *peer)
        except subprocess.CalledProcessError as error:
            self.__exit__()
            pytest.skip(f"no network can be made here: {error.stderr.strip()}")
        ip("-n", self._near, "addr", "add", f"{self.address}/24", "dev", "cable")
        ip("-n", self._near, "link", "set", "cable", "up")
        ip("-n", self._far, "addr", "add", self._there, "dev", "cable")
        self.plug_in()
        return self

    def __exit__(self, *_: object) -> None:
        for name in (self._near, self._far):
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "del", name)

    @property
    def _there(self) -> str:
        return f"{self._net}.{self._host}/24"

    def near(self, command: list[str]) -> list[str]:
        """The command that runs another one at the near end."""
        return ["nsenter", f"--net=/run/netns/{self._near}", *command]

    def far(self, path: str, folder: Path) -> Path:
        """Make a program that runs another one at the far end.

        Args:
            path: of the other.
            folder: for the one that is made.
        """
        made = folder / Path(path).name
        made.write_text(f'#!/bin/sh\nexec nsenter --net=/run/netns/{self._far} {path} "$@"\n')
        made.chmod(0o755)
        return made

    def unplug(self) -> None:
        """Take the far end down: nobody at the near one is told of it."""
        ip("-n", self._far, "link", "set", "cable", "down")

    def plug_in(self) -> None:
        """Take it up again."""
        ip("-n", self._far, "link", "set", "cable", "up")

    def move(self) -> None:
        """Have another address there, and not the one before: what was sent to that is lost."""
        ip("-n", self._far, "addr", "del", self._there, "dev", "cable")
        self._host += 1
        ip("-n", self._far, "addr", "add", self._there, "dev", "cable")
