"""Tokens: rights that a bpffs hands on to a user namespace (kernel/bpf/token.c). Since: 6.9."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bpflens.abi.attrs import TokenCreate
from bpflens.abi.enums import AttachType, Cmd, MapType, ProgType
from bpflens.engine.bpffs import Bpffs, Directory
from bpflens.engine.call import Call, command, err
from bpflens.engine.creds import Cap, UserNs
from bpflens.engine.files import O_RDWR, File, Node

if TYPE_CHECKING:
    from bpflens.abi.infos import TokenInfo
    from bpflens.abi.word import Word

_ENUMS: dict[str, type[Word]] = {
    "allowed_cmds": Cmd,
    "allowed_maps": MapType,
    "allowed_progs": ProgType,
    "allowed_attachs": AttachType,
}


class Token(Node):
    """What may be done with capabilities that count in one user namespace only."""

    __slots__ = ("allowed", "info_end", "info_size", "userns")

    anon = "/bpf-token (deleted)"

    def __init__(self, userns: UserNs, allowed: TokenInfo, size: int) -> None:
        self.userns = userns
        self.allowed = allowed
        self.info_size = self.info_end = size

    def info(self, call: Call, file: File, data: bytearray, told: int) -> None:
        """bpf_token_get_info_by_fd()."""
        data[:] = self.allowed.encode()

    def fdinfo(self, file: File) -> str:
        """bpf_token_show_fdinfo()."""
        return "".join(
            f"{name}:\t{_told(getattr(self.allowed, name), enum)}\n"
            for name, enum in _ENUMS.items()
        )


def _told(bits: int, enum: type[Word]) -> str:
    everything = (1 << max(enum) + 1) - 1
    return "any" if bits & everything == everything else f"{bits:#x}"


def token_userns(
    call: Call, fd: int, cmd: Cmd, *, map: int = 0, prog: int = 0, attach: int = 0
) -> UserNs | None:
    """Where the caller's capabilities count: in a token's user namespace, if it allows this.

    A token that does not allow it is as good as none. bpf_token_get_from_fd(), bpf_token_allow_*().
    """
    token = call.task.files.get(fd, Token)
    allowed = token.allowed
    asked = [(allowed.allowed_cmds, int(cmd))]
    if cmd == Cmd.MAP_CREATE:
        asked.append((allowed.allowed_maps, map))
    elif cmd == Cmd.PROG_LOAD:
        asked += [(allowed.allowed_progs, prog), (allowed.allowed_attachs, attach)]
    good = all(number < 64 and bits >> number & 1 for bits, number in asked)
    return token.userns if good else None


@command(Cmd.TOKEN_CREATE, TokenCreate)
def token_create(call: Call, attr: TokenCreate) -> int:
    """bpf_token_create(): in the user namespace that the bpffs was made in, not in the first."""
    if attr.flags:
        raise err(errno.EINVAL)
    bpffs = call.task.files.get(attr.bpffs_fd, Directory)
    if not isinstance(bpffs, Bpffs):
        raise err(errno.EINVAL)
    creds = call.task.creds
    if creds.userns is not bpffs.userns or not creds.has_in(bpffs.userns, Cap.BPF):
        raise err(errno.EPERM)
    if creds.userns is None:
        raise err(errno.EOPNOTSUPP)
    if not any(bpffs.delegated.encode()):
        raise err(errno.ENOENT)
    made = Token(creds.userns, bpffs.delegated, call.engine.release.token_info)
    return call.task.files.add(File(made, O_RDWR, creds))
