"""The iterator over open files, assembled from a kernel's types and symbols."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest

from bpflens.abi.rows import FileKind, FileRow, SocketRow
from bpflens.btf.build import BtfBuilder
from bpflens.btf.parse import Btf
from bpflens.btf.types import Func
from bpflens.errors import Denied, Unsupported
from bpflens.linux import bulk, filerows

EDITIONS = {"5": "7eea7c85f049e48c"}
"""What the text of each edition of the program makes of `kernel()`."""

ADDRESSES = {kind: 0xFFFFFFFF81000000 + 16 * kind for kind in FileKind}


def kernel(without: Sequence[str] = ()) -> Btf:
    """As much of a kernel's types as the iterator needs, but for structs left out."""
    made = BtfBuilder()
    word = made.add_int("long int", 8)

    def struct(name: str, *members: str, **nested: int) -> int:
        if name in without:
            return word
        placed = [(member, word, 64 * at) for at, member in enumerate(members)]
        placed += [(m, type_id, 64 * at) for at, (m, type_id) in enumerate(nested.items(), 20)]
        return made.add_struct(name, 256, placed)

    common = struct("sock_common", *COMMON, skc_net=struct("possible_net", "net"))
    for name, members in STRUCTS.items():
        struct(name, *members)
    struct("perf_event", "prog", "bpf_cookie", "id", attr=struct("attr", "type", "config"))
    struct("net", ns=struct("ns_common", "inum"))
    struct("sock", *SOCK, __sk_common=common)
    made.add_func(filerows.TARGET, made.add_func_proto(word), linkage=Func.STATIC)
    return Btf.parse(made.build())


COMMON = (
    "skc_family", "skc_rcv_saddr", "skc_daddr", "skc_num", "skc_dport", "skc_v6_rcv_saddr",
    "skc_v6_daddr",
)  # fmt: skip
SOCK = ("sk_filter", "sk_reuseport_cb", "sk_type", "sk_protocol")
STRUCTS = {
    "bpf_iter__task_file": ("meta", "task", "fd", "file"),
    "bpf_iter_meta": ("seq",),
    "file": ("f_op", "private_data", "f_inode"),
    "file_operations": ("release", "unlocked_ioctl"),
    "inode": ("i_ino",),
    "task_struct": ("group_leader", "thread_pid"),
    "pid": ("level", "numbers"),
    "upid": ("nr",),
    "bpf_prog": ("aux",),
    "bpf_prog_aux": ("id",),
    "bpf_map": ("id",),
    "bpf_link": ("id",),
    "btf": ("id",),
    "seq_file": ("private",),
    "bpf_iter_priv_data": ("tinfo", "prog", "target_private"),
    "bpf_iter_target_info": ("reg_info",),
    "bpf_iter_reg": ("target",),
    "socket": ("sk",),
    "sk_filter": ("prog",),
    "sock_reuseport": ("prog",),
    "unix_sock": ("addr",),
    "unix_address": ("len", "name"),
    "packet_sock": ("ifindex", "num", "fanout"),
    "packet_fanout": ("type", "bpf_prog"),
}


def kallsyms(**other: int) -> bytes:
    """/proc/kallsyms with what it is asked for, and more."""
    found = {name: 0xFFFFFFFF81000000 + at for at, name in enumerate(filerows.RELEASE.values())}
    lines = [f"{at:016x} t {name}" for name, at in (found | other).items()]
    lines += ["ffffffffc0000000 t not_btf_release\t[other]", "ffffffffc0000010 T last"]
    return "\n".join(lines).encode() + b"\n"


def test_the_functions_that_close_files_are_found_by_name() -> None:
    found = filerows.releases(kallsyms())
    assert found == {kind: 0xFFFFFFFF81000000 + at for at, kind in enumerate(filerows.RELEASE)}


def test_hidden_addresses_say_what_would_show_them() -> None:
    hidden = dict.fromkeys(filerows.RELEASE.values(), 0)
    with pytest.raises(Denied, match="kptr_restrict") as error:
        filerows.releases(kallsyms(**hidden))
    assert error.value.needs == "CAP_SYSLOG"


@pytest.mark.parametrize("change", ["missing", "twice"])
def test_a_function_that_is_not_certain_is_not_guessed(change: str) -> None:
    line = b"ffffffff81000005 t perf_release\n"
    text = kallsyms()
    assert line in text
    text = text.replace(line, b"") if change == "missing" else text + line
    with pytest.raises(Unsupported, match="perf_release"):
        filerows.releases(text)


@pytest.mark.parametrize("gone", ["bpf_link", "sock_reuseport", "bpf_iter_priv_data"])
def test_a_kernel_without_what_it_reads_is_not_offered_it(gone: str) -> None:
    with pytest.raises(Unsupported):
        filerows.program(kernel(without=[gone]), ADDRESSES)


@pytest.mark.parametrize("gone", ["unix_sock", "packet_sock", "packet_fanout"])
def test_a_kernel_without_a_family_of_sockets_tells_the_others(gone: str) -> None:
    assert filerows.program(kernel(without=[gone]), ADDRESSES)


def test_packet_sockets_may_be_a_modules() -> None:
    base = kernel(without=["packet_sock"])
    whole = filerows.program(base, ADDRESSES, kernel())
    assert len(whole) > len(filerows.program(base, ADDRESSES))


def test_rows_are_cut_alike() -> None:
    assert SocketRow.__size__ % FileRow.__size__ == 0


def test_another_text_is_another_edition() -> None:
    digest = sha256(filerows.program(kernel(), ADDRESSES)).hexdigest()[:16]
    edition = bulk.EDITIONS["files"]
    assert {edition: digest} == {edition: EDITIONS[edition]}
