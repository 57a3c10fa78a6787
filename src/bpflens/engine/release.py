"""What a release of Linux lacks of 6.18: the newest is the rule, older ones are exceptions."""

from __future__ import annotations

from typing import NamedTuple

from bpflens.abi.enums import Cmd, MapType


class Release(NamedTuple):
    """How a release differs from 6.18."""

    name: str
    attr_size: int = 168
    """sizeof(union bpf_attr)."""
    commands: int = 38
    """Commands from this number on are unknown."""
    map_types: int = MapType.ARENA + 1
    tag_hash: str = "sha256"
    ends: dict[int, int] = {}
    """Where the attr of a command ends, if elsewhere than in 6.18."""
    prog_info: tuple[int, int] = (232, 228)
    """sizeof(struct bpf_prog_info), and where the caller's bytes must be zero from."""
    map_info: tuple[int, int] = (104, 100)
    link_info: int = 64
    prog_flags: int = 0x100FF
    map_tokens: bool = True
    """Whether MAP_CREATE knows BPF_F_TOKEN_FD."""


RELEASES: dict[str, Release] = {
    "6.18": Release("6.18"),
    "6.12": Release(
        "6.12",
        attr_size=152,
        commands=Cmd.PROG_STREAM_READ_BY_FD,
        tag_hash="sha1",
        # no excl_prog_hash; no signature, keyring_id, fd_array_cnt; no token for BTF ids
        ends={Cmd.MAP_CREATE: 80, Cmd.PROG_LOAD: 148, Cmd.BTF_GET_FD_BY_ID: 12},
        prog_info=(232, 232),
        map_info=(88, 88),
    ),
    "6.1": Release(
        "6.1",
        attr_size=144,
        commands=Cmd.TOKEN_CREATE,
        map_types=MapType.USER_RINGBUF + 1,
        tag_hash="sha1",
        # no log_true_size, token or multi-attach fields
        ends={
            Cmd.MAP_CREATE: 72,
            Cmd.PROG_LOAD: 140,
            Cmd.OBJ_PIN: 16,
            Cmd.OBJ_GET: 16,
            Cmd.PROG_ATTACH: 20,
            Cmd.PROG_DETACH: 20,
            Cmd.PROG_QUERY: 40,
            Cmd.BTF_LOAD: 28,
            Cmd.BTF_GET_FD_BY_ID: 12,
            Cmd.LINK_CREATE: 48,
        },
        prog_info=(232, 232),
        map_info=(88, 88),
        link_info=48,
        prog_flags=0x3F,
        map_tokens=False,
    ),
}
