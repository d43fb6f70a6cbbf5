"""Whom nginx and the workers run as."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass

from shiny_sticky.errors import SettingsError
from shiny_sticky.settings.model import Settings


@dataclass(frozen=True)
class Owner:
    """The user of the workers, and the group that reaches their sockets.

    Attributes:
        name: the user's name.
        uid: and number.
        gid: the primary group.
        switches: whether that is another user than the launcher's.
        group: a group that may enter run_dir; None closes it to all but the user.
    """

    name: str
    uid: int
    gid: int
    switches: bool
    group: int | None


def owner_of(settings: Settings) -> Owner:
    """Look up whom to run as.

    Raises:
        SettingsError: the user or group does not exist, or only root could become that user.
    """
    here = os.geteuid()
    try:
        user = pwd.getpwnam(settings.user) if settings.user else pwd.getpwuid(here)
    except KeyError:
        raise SettingsError([f"user: there is no user {settings.user or here} on this machine"]) from None
    if user.pw_uid != here and here != 0:
        raise SettingsError([f"user: only root can become {settings.user}; start with sudo, or leave it out"])
    group = user.pw_gid if user.pw_uid != here else None
    if settings.nginx.socket_group is not None:
        try:
            group = grp.getgrnam(settings.nginx.socket_group).gr_gid
        except KeyError:
            raise SettingsError(
                [f"nginx.socket_group: there is no group {settings.nginx.socket_group} on this machine"]
            ) from None
    return Owner(user.pw_name, user.pw_uid, user.pw_gid, user.pw_uid != here, group)
