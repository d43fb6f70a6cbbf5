"""A machine of its own, on which systemd has just booted: this system's programs, and nothing of its services."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from support.waiting import PATIENCE, until

BOOT = Path(__file__).with_name("boot-machine")
SYSTEMD = Path("/usr/lib/systemd/systemd")
NAMESPACES = ("--mount", "--pid", "--cgroup", "--net", "--ipc", "--uts")

# The Python that the tests' virtual environment was made with; the machine has /usr as it is, and other folders by
# other names.
OWN_PYTHON = sys._base_executable
PYTHON_FOLDER = "/opt/python"

# A shell's PATH there. What a person types is found in the first folder: sudo, which root has no need of.
SHIMS = "/opt/shims"
PATH = f"{SHIMS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def why_not() -> str:
    """Why no machine can be booted here; empty if one can."""
    if os.geteuid() != 0:
        return "only root can boot a machine"
    if not SYSTEMD.exists():
        return "there is no systemd to boot"
    if "cgroup2" not in Path("/proc/filesystems").read_text():
        return "this kernel has no cgroup2, which systemd needs"
    tried = subprocess.run(["unshare", *NAMESPACES, "--fork", "true"], capture_output=True, text=True)
    return tried.stderr.strip()


class Machine:
    """A booted machine. Its network is its own, and so is all that is written there.

    Use as a context manager.

    Args:
        folders: what else of this system is to be seen there, read-only: by the place where.
    """

    def __init__(self, folders: dict[str, Path]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="st-machine-", dir="/tmp"))
        self._folders = dict(folders)

    def __enter__(self) -> Machine:
        root, shims = self._folder / "root", self._folder / "shims"
        root.mkdir()
        shims.mkdir()
        python = OWN_PYTHON
        if not python.startswith("/usr/"):
            self._folders[PYTHON_FOLDER] = Path(sys.base_prefix)
            python = f"{PYTHON_FOLDER}/{Path(python).relative_to(sys.base_prefix)}"
        for name, command in {"sudo": "", "python3": python}.items():
            (shims / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (shims / name).chmod(0o755)
        mounts = [f"{here}:{there}" for there, here in {SHIMS: shims, **self._folders}.items()]
        # The first namespace hides what boot-machine mounts from everybody else.
        self._boot = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", BOOT, root, *mounts],
            stdin=subprocess.DEVNULL,
        )
        try:
            self._init = until(self._find_init, "systemd begins")
            until(self._is_up, "systemd has booted")
            if PYTHON_FOLDER in self._folders:
                self.run(f"echo {PYTHON_FOLDER}/lib > /etc/ld.so.conf.d/python.conf; ldconfig")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in psutil.Process(self._boot.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                process.kill()  # of the machine's first process, with which the kernel ends all others
        self._boot.wait(PATIENCE)
        shutil.rmtree(self._folder)

    def _find_init(self) -> int:
        """The machine's first process: unshare's child."""
        assert self._boot.poll() is None
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(self._boot.pid).children(recursive=True):
                if process.name() == SYSTEMD.name:
                    return process.pid
        return 0

    def _is_up(self) -> bool:
        return self.run("systemctl is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def run(self, script: str, *, check: bool = True, folder: str = "/") -> subprocess.CompletedProcess[str]:
        """Run a script of the shell there, as root.

        Args:
            script: stops at the first command that fails.
            check: whether it must not fail.
            folder: where it runs.
        """
        inside = [
            "nsenter",
            f"--target={self._init}",
            *NAMESPACES,
            "--root",
            f"--wd=/proc/{self._init}/root{folder}",
        ]
        done = subprocess.run(
            [*inside, "env", "-i", f"PATH={PATH}", "HOME=/root", "SYSTEMD_COLORS=0", "sh", "-ec", script],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=10 * PATIENCE,
        )
        assert not check or done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done

    def path(self, place: str) -> Path:
        """Where a file of the machine's is to be found from here."""
        return Path(f"/proc/{self._init}/root{place}")

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """What this thread connects to meanwhile is the machine's; connections last."""
        with Path("/proc/thread-self/ns/net").open() as ours, Path(f"/proc/{self._init}/ns/net").open() as theirs:
            _enter(theirs.fileno())
            try:
                yield
            finally:
                _enter(ours.fileno())


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
