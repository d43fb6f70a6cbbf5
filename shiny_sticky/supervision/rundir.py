"""The run_dir: sockets, links, pid files and logs, and the lock that one launcher holds on them.

===================== ===========================================================================
``launcher.pid``      the launcher's pid; locked while it lives. ``nginx.pid`` is written by nginx
``app2.sock``         a link to the socket of the incarnation that serves as app2
``pages/app.3.sock``  a seat, by which new visitors come: a link to the link of the worker that takes them
``sessions/`` ...     the same for those who come for a session, without having come for a page
``next/`` ...         for each seat a link to another worker, which takes over what the seat's has failed
``pool/app2.sock``    a link to that of the worker; the seats that lead to it are further names of this one
``app2.k3f9.sock``    an incarnation's socket
``app2.k3f9.pid``     its pid, for people; locked by the process itself while it lives, launcher or not
``app2.k3f9.inbox``   what a launcher tells it that is not its own: it was started by an earlier one
``app-k3f9.pid``      that of a fork server, which workers of app are forked off; likewise
``app.queue.sock``    where pages that wait for a place in app ask for theirs; ``waiting.key`` signs what they bring
``nginx-access.log``  and ``nginx-error.log``: nginx's logs; rotated ones end in ``.1`` and so on
``announcement``      what all pages show, until it is taken away
``site.log``          what the launcher and the workers print; rotated likewise
``workers.log``       what workers print while no launcher is there to show it
``cache/``            static files that nginx keeps
``compressed/``       the same, compressed by the workers; named by their content
``dependencies/app/`` what the workers of app have registered with Shiny; written and read by these alone
``imports/app/``      which imports of app are left to its forks; written and read by its processes alone
``shared/app/``       what the processes of app tell each other (``shared_folders.py``); the app's own
``kept/app/``         uploaded files and last bookmarks, for later sessions of their pages; the app's own
``tmp/``              nginx's temporary files
===================== ===========================================================================
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from shiny_sticky import site_log
from shiny_sticky.errors import StickyError
from shiny_sticky.foreign_folders import empty, make, restrict
from shiny_sticky.handle import Handle
from shiny_sticky.settings import names
from shiny_sticky.settings.users import Owner, check_place
from shiny_sticky.supervision import pid_files
from shiny_sticky.supervision.pool import FOLDERS

# What nginx, and who prints, write as long as they live; some of it names sessions.
NGINX_LOGS = ("nginx-access.log", "nginx-error.log")
LOGS = (*NGINX_LOGS, site_log.NAME, site_log.WORKERS_LOG)

# Folders in folders that nginx keeps files in: proxy_cache_path's levels, in conf/snippet.conf.j2.
CACHE_LEVELS = 2


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

    def prepare(self) -> None:
        """Make the folder, and close it to other users.

        Raises:
            StickyError: it cannot be made, is a link, belongs to somebody else or may be replaced by somebody else,
                or is a shared folder such as /tmp.
        """
        try:
            self._check_place()
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_place()  # again: others may have made a folder on the way meanwhile
            check_place("run_dir", self.path / "launcher.pid", self.owner)
            found = self.path.stat()
            if found.st_uid != os.geteuid():
                raise StickyError(
                    f"run_dir {self.path} belongs to another user (uid {found.st_uid}); choose another."
                )
            if found.st_mode & stat.S_IWOTH or self.path == Path.home():
                raise StickyError(f"run_dir {self.path} is a shared folder; choose one below it.")
            self._close_to_others()
            make(self.path / "tmp", 0o711)
            for folder in FOLDERS:
                make(self.path / folder, 0o711)
            make(self.dependencies, 0o711)
            make(self.compressed, 0o700, self.theirs)
            empty(self.compressed)
        except OSError as error:
            raise StickyError(f"run_dir {self.path} cannot be used: {_told(error)}") from None

    def _check_place(self) -> None:
        """See to it that nobody else can put another folder in its place.

        Raises:
            StickyError: somebody can.
        """
        if self.path.is_symlink():
            raise StickyError(
                f"run_dir {self.path} is a link; name the folder that it leads to: {self.path.resolve()}"
            )
        check_place("run_dir", self.path, self.owner)

    def _close_to_others(self) -> None:
        """Let nobody but the owner, and the group that may reach the sockets, come to what is in it.

        A folder has one group. As the owner comes by that of its own, whose other members find everything in it
        closed, the socket group then needs the way that is open to all.
        """
        group = self.owner.gid if self.owner.switches else self.owner.socket_group
        if group is not None:
            os.chown(self.path, -1, group)
        both = self.owner.switches and self.owner.socket_group is not None
        self.path.chmod(0o711 if both else 0o700 if group is None else 0o710)
        for log in LOGS:
            with contextlib.suppress(FileNotFoundError):
                restrict(self.path / log, 0o600)

    @property
    def theirs(self) -> tuple[int, int] | None:
        """Whom to give what is the workers' own: a user and a group; None if they are the launcher's user."""
        return (self.owner.uid, self.owner.gid) if self.owner.switches else None

    def lock(self) -> None:
        """Take the folder for this launcher, until the process ends.

        Raises:
            StickyError: another running launcher has it.
        """
        file = self.path / "launcher.pid"
        try:
            descriptor = pid_files.open_locked(file)
            holder = pid_files.PidFile(file).holder if descriptor is None else None
        except OSError as error:
            raise StickyError(f"run_dir {self.path} cannot be used: {file}: {error.strerror}") from None
        if descriptor is None:
            pid = "unknown" if holder is None else holder.pid
            raise StickyError(
                f"run_dir {self.path} is in use by a running launcher (pid {pid}). "
                f"Stop that one (kill {pid}), or give this one a run_dir and port of its own."
            )
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
        empty(self.cache, CACHE_LEVELS)

    def running_processes(self, report: Callable[[str], None]) -> dict[str, Handle]:
        """The incarnations and fork servers that run; what dead ones have left is removed.

        Args:
            report: takes what is not as it should be.
        """
        running = {}
        for file in self.path.glob("*.pid"):
            if names.INCARNATION.fullmatch(file.stem) or names.FORK_SERVER.fullmatch(file.stem):
                try:
                    found = pid_files.PidFile(file)
                except OSError as error:
                    report(f"{file} is left alone: {error.strerror}")
                    continue
                if found.holder is None:
                    self.remove(file.stem)
                    continue
                running[file.stem] = found.holder
                if found.text != str(found.holder.pid):
                    report(f"{file} says {found.text!r}, but the process that has locked it is {found.holder.pid}")
        for socket_file in self.path.glob("*.*.sock"):
            if names.INCARNATION.fullmatch(socket_file.stem) and socket_file.stem not in running:
                _unlink_if_file(socket_file)
        self.remove_notes(except_for=running)
        return running

    def give_up(self, name: str) -> None:
        """End a process that nobody will have, should it have come so far as to lock its pid file; forget it."""
        with contextlib.suppress(OSError):
            holder = pid_files.PidFile(self.path / f"{name}.pid").holder
            if holder is not None:
                holder.send(signal.SIGKILL)
        self.remove(name)

    def new_incarnation(self, worker: str) -> str:
        """A name for a new process of a worker, such as ``app2.k3f9``, that no other one has."""
        while True:
            name = names.new_incarnation(worker)
            if not any((self.path / f"{name}.{ending}").exists() for ending in ("sock", "pid")):
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
        if self.owner.socket_group is not None:
            os.chown(file, -1, self.owner.socket_group)
        file.chmod(0o600 if self.owner.socket_group is None else 0o660)
        return listener

    def open_pid_file(self, name: str) -> int:
        """Open a process's pid file, for the process to inherit and to lock, and nobody else.

        Args:
            name: of an incarnation or a fork server.

        Returns:
            The descriptor; the caller closes its own copy.
        """
        descriptor = os.open(self.path / f"{name}.pid", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if self.owner.switches:  # it is by its owner that a later launcher knows whose process may have locked it
            os.fchown(descriptor, self.owner.uid, -1)
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
        return os.open(
            self.path / site_log.WORKERS_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
        )

    def link_of(self, worker: str) -> Path:
        """The worker's socket, a link to that of the incarnation which serves."""
        return self.path / f"{worker}.sock"

    def link(self, incarnation: str) -> None:
        """Let the worker's socket be that of the incarnation, in one step; nginx's next connect goes there."""
        worker = names.worker_of(incarnation)
        fresh = self.path / f".{incarnation}.link"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(f"{incarnation}.sock")
        fresh.replace(self.link_of(worker))

    def links(self) -> Iterator[Path]:
        """The links of all workers."""
        for file in self.path.glob("*.sock"):
            if file.is_symlink():
                yield file

    def remove(self, name: str) -> None:
        """Remove what an incarnation or a fork server has left."""
        for ending in ("sock", "pid", "inbox"):
            _unlink_if_file(self.path / f"{name}.{ending}")

    def make_notes_folder(self, app: str) -> Path:
        """The folder in which an app's workers, and nobody else, tell each other what they have registered.

        Raises:
            OSError: the disk is full.
        """
        return make(self.dependencies / app, 0o700, self.theirs)

    def make_kept_folder(self, app: str) -> Path:
        """The folder in which an app's workers, and nobody else, keep for later sessions what pages had.

        Raises:
            OSError: the disk is full.
        """
        return make(make(self.path / "kept", 0o711) / app, 0o700, self.theirs)

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
        """Remove the links of workers, and the seats.

        Args:
            except_for: the names of those that stay.
        """
        for file in [*self.links(), *(file for folder in FOLDERS for file in (self.path / folder).glob("*"))]:
            if file.stem not in except_for:
                file.unlink(missing_ok=True)


def _unlink_if_file(path: Path) -> None:
    """Remove a file or a link; leave what else a user has put there instead."""
    with contextlib.suppress(OSError):
        path.unlink()


def _told(error: OSError) -> str:
    """What went wrong, and with which file."""
    return ": ".join(str(part) for part in (error.filename, error.strerror) if part)
