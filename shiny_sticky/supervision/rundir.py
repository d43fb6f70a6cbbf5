"""The run_dir: sockets, links, pid files and logs, and the lock that one launcher holds on them.

===================== ===========================================================================
``launcher.pid``      the launcher's pid; locked while it lives
``nginx.pid``         written by nginx
``app2.sock``         a link to the socket of the incarnation that serves as app2
``pool/app2.sock``    a link to that link, by which new visitors come; called ``app2.out`` while they must not
``app2.k3f9.sock``    an incarnation's socket
``app2.k3f9.pid``     its pid; locked by the process itself while it lives, launcher or not
``app-k3f9.pid``      that of a fork server, which workers of app are forked off; likewise
``nginx-access.log``  and ``nginx-error.log``: nginx's logs
``workers.log``       what workers print while no launcher is there to show it
``cache/``            static files that nginx keeps
``compressed/``       the same, compressed by the workers; named by their content
``dependencies/app/`` what the workers of app have registered with Shiny; written and read by these alone
``tmp/``              nginx's temporary files
===================== ===========================================================================
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

import psutil

from shiny_sticky.errors import StickyError
from shiny_sticky.settings import names
from shiny_sticky.settings.users import Owner


class RunDir:
    """The folder that a launcher works in.

    Args:
        path: the folder; made if it is missing.
        owner: whom nginx and the workers run as.
    """

    def __init__(self, path: Path, owner: Owner) -> None:
        self.path = path
        self.owner = owner
        self._lock: int | None = None

    @property
    def cache(self) -> Path:
        """Where nginx keeps files; nginx makes the folder."""
        return self.path / "cache"

    @property
    def compressed(self) -> Path:
        """Where workers keep what they have compressed."""
        return self.path / "compressed"

    @property
    def dependencies(self) -> Path:
        """Where the workers of each app note what they have registered with Shiny."""
        return self.path / "dependencies"

    @property
    def pool(self) -> Path:
        """The links by which new visitors come."""
        return self.path / "pool"

    def prepare(self) -> None:
        """Make the folder, and close it to other users.

        Raises:
            StickyError: it cannot be made, belongs to somebody else, or is a shared folder such as /tmp.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.path.stat()
            if found.st_uid != os.geteuid():
                raise StickyError(
                    f"run_dir {self.path} belongs to another user (uid {found.st_uid}); choose another."
                )
            if found.st_mode & stat.S_IWOTH or self.path == Path.home():
                raise StickyError(f"run_dir {self.path} is a shared folder; choose one below it.")
            if self.owner.group is not None:
                os.chown(self.path, -1, self.owner.group)
            self.path.chmod(0o700 if self.owner.group is None else 0o710)
            (self.path / "tmp").mkdir(mode=0o755, exist_ok=True)
            self.pool.mkdir(mode=0o711, exist_ok=True)
            self.dependencies.mkdir(mode=0o711, exist_ok=True)
            self.compressed.mkdir(mode=0o700, exist_ok=True)
            if self.owner.switches:
                os.chown(self.compressed, self.owner.uid, self.owner.gid)
            for file in self.compressed.iterdir():
                file.unlink(missing_ok=True)
        except OSError as error:
            raise StickyError(f"run_dir {self.path} cannot be used: {error.strerror}") from None

    def lock(self) -> None:
        """Take the folder for this launcher, until the process ends.

        Raises:
            StickyError: another running launcher has it.
        """
        file = self.path / "launcher.pid"
        while True:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                holder = os.read(descriptor, 32).decode().strip() or "unknown"
                os.close(descriptor)
                raise StickyError(
                    f"run_dir {self.path} is in use by a running launcher (pid {holder}). "
                    f"Stop that one (kill {holder}), or give this one a run_dir and port of its own."
                ) from None
            # The previous launcher may have unlinked the file between our open and our lock. Such a lock protects
            # nothing: try again.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), file.stat()):
                    break
            os.close(descriptor)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._lock = descriptor

    def unlock(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            (self.path / "launcher.pid").unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def clear_cache(self) -> None:
        """Remove every file that nginx keeps; it fetches anew what it does not find.

        Raises:
            OSError: nginx runs as somebody else, and it is not allowed.
        """
        for folder, _, files in os.walk(self.cache, onerror=_raise):
            for file in files:
                Path(folder, file).unlink(missing_ok=True)

    def running_processes(self) -> dict[str, int]:
        """The incarnations and fork servers that run, with their pids; what dead ones have left is removed."""
        running = {}
        for file in self.path.glob("*.pid"):
            known = names.INCARNATION.fullmatch(file.stem) or names.FORK_SERVER.fullmatch(file.stem)
            if known and (pid := self._holder_of(file)):
                running[file.stem] = pid
        for socket_file in self.path.glob("*.*.sock"):
            if names.INCARNATION.fullmatch(socket_file.stem) and socket_file.stem not in running:
                socket_file.unlink(missing_ok=True)
        self.remove_notes(except_for=running)
        return running

    def _holder_of(self, pid_file: Path) -> int:
        """The process that holds the lock on its pid file; 0 if there is none, and then the file is removed."""
        with pid_file.open("r+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return int(stream.read() or 0) or _pid_of(pid_file.stem)
        self.remove(pid_file.stem)
        return 0

    def new_incarnation(self, worker: str) -> str:
        """A name for a new process of a worker, such as ``app2.k3f9``, that no other one has."""
        while True:
            name = names.new_incarnation(worker)
            if not (self.path / f"{name}.sock").exists():
                return name

    def new_fork_server(self, app: str) -> str:
        """A name for a new fork server of an app, such as ``app-k3f9``, that no other one has."""
        while True:
            name = names.new_fork_server(app)
            if not (self.path / f"{name}.pid").exists():
                return name

    def bind(self, incarnation: str) -> socket.socket:
        """Bind an incarnation's socket, open to nginx alone."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        file = self.path / f"{incarnation}.sock"
        listener.bind(str(file))
        if self.owner.switches:
            os.chown(file, self.owner.uid, -1)
        if self.owner.group is not None:
            os.chown(file, -1, self.owner.group)
        file.chmod(0o600 if self.owner.group is None else 0o660)
        return listener

    def open_pid_file(self, name: str) -> int:
        """Open and lock a process's pid file, for the process to inherit: it is locked while that lives.

        Args:
            name: of an incarnation or a fork server.

        Returns:
            The descriptor; the caller closes its own copy.
        """
        descriptor = os.open(self.path / f"{name}.pid", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor

    @staticmethod
    def note_pid(descriptor: int, pid: int) -> str:
        """Write a pid into its file; forks have done so themselves.

        Returns:
            Why it could not be written: the disk is full; else empty.
        """
        try:
            os.pwrite(descriptor, f"{pid}\n".encode(), 0)
        except OSError as error:
            return os.strerror(error.errno or 0)
        return ""

    def open_log(self) -> int:
        """Open the file that takes the output of workers whose launcher is gone."""
        return os.open(self.path / "workers.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def link(self, incarnation: str) -> None:
        """Let the worker's socket be that of the incarnation, in one step; nginx's next connect goes there."""
        worker = names.worker_of(incarnation)
        fresh = self.path / f".{incarnation}.link"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(f"{incarnation}.sock")
        fresh.replace(self.path / f"{worker}.sock")

    def links(self) -> Iterator[Path]:
        """The links of all workers."""
        for file in self.path.glob("*.sock"):
            if file.is_symlink():
                yield file

    def remove(self, name: str) -> None:
        """Remove what an incarnation or a fork server has left."""
        for ending in ("sock", "pid"):
            (self.path / f"{name}.{ending}").unlink(missing_ok=True)

    def make_notes_folder(self, app: str) -> Path:
        """The folder in which an app's workers, and nobody else, tell each other what they have registered.

        Raises:
            OSError: the disk is full.
        """
        folder = self.dependencies / app
        folder.mkdir(mode=0o700, exist_ok=True)
        if self.owner.switches:
            os.chown(folder, self.owner.uid, self.owner.gid)
        return folder

    def remove_note(self, incarnation: str) -> None:
        """Remove what a process has noted. The folder is the app's user's: no link in it is followed."""
        for folder in self.dependencies.glob("*"):
            for ending in (".json", ".json.part"):
                _unlink_if_file(folder / f"{incarnation}{ending}")

    def remove_notes(self, except_for: Collection[str] = ()) -> None:
        """Remove what processes have noted that do not run (any more); no link is followed.

        Args:
            except_for: the incarnations that do.
        """
        for folder in self.dependencies.glob("*"):
            for file in folder.glob("*"):
                if file.name.partition(".json")[0] not in except_for:
                    _unlink_if_file(file)

    def remove_links(self, except_for: Collection[str] = ()) -> None:
        """Remove the links of workers that are not (any more) in the table.

        Args:
            except_for: the names of those that are.
        """
        for file in [*self.links(), *self.pool.glob("*")]:
            if file.stem not in except_for:
                file.unlink(missing_ok=True)


def _unlink_if_file(path: Path) -> None:
    """Remove a file or a link; leave what else a user has put there instead."""
    with contextlib.suppress(OSError):
        path.unlink()


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _pid_of(name: str) -> int:
    """The process of that name, if its launcher was killed before it could note the pid; 0 if there is none.

    Forks are not found: they are called as their parent is, and note their pid before anything else.
    """
    for process in psutil.process_iter(["cmdline"]):
        if name in (process.info["cmdline"] or []):
            return int(process.pid)
    return 0
