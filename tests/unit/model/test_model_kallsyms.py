"""The kernel's symbols: found by address, hidden with a reason, kept as far as they were asked."""

from __future__ import annotations

import errno

from bpflens.model.kallsyms import PATH, Kallsyms
from bpflens.model.parts import Missing, Reason
from tests.unit.scripted import Kernel

LINES = (
    b"0000000000000000 A fixed_percpu_data\n"
    b"ffffffff81000000 T _stext\n"
    b"ffffffff81000000 T _text\n"
    b"ffffffff81000040 T __bpf_call_base\n"
    b"ffffffffc0000000 t nf_hook\t[nf_tables]\n"
    b"ffffffffc0000100 t bpf_prog_0102030405060708_f\t[bpf]\n"
)


def test_the_first_of_several_names_at_an_address_counts() -> None:
    kernel = Kernel()
    kernel.host.files[PATH] = LINES
    symbols = kernel.system().kallsyms()
    assert not isinstance(symbols, Missing)
    assert symbols.call_base == 0xFFFFFFFF81000040
    assert symbols.name(0xFFFFFFFF81000000) == "_stext"
    assert symbols.name(0xFFFFFFFFC0000000) == "nf_hook"
    assert symbols.name(0xFFFFFFFFC0000001) is None


def test_an_address_inside_a_function_is_told_by_its_distance() -> None:
    kernel = Kernel()
    kernel.host.files[PATH] = LINES
    system = kernel.system()
    symbols = system.kallsyms()
    assert not isinstance(symbols, Missing)
    assert symbols.place(0xFFFFFFFF81000000) == "_stext"
    assert symbols.place(0xFFFFFFFF81000044) == "__bpf_call_base+0x4"
    assert symbols.place(0xFFFFFFFFC0000010) == "nf_hook+0x10 [nf_tables]"
    assert symbols.place(0x1234) is None
    kernel.host.files[PATH] = system.symbols_asked or b""
    again = kernel.system().kallsyms()
    assert not isinstance(again, Missing)
    assert again.place(0xFFFFFFFFC0000010) == "nf_hook+0x10 [nf_tables]"


def test_an_excerpt_answers_what_was_asked_and_no_more() -> None:
    kernel = Kernel()
    kernel.host.files[PATH] = LINES
    system = kernel.system()
    assert system.symbols_asked is None
    symbols = system.kallsyms()
    assert not isinstance(symbols, Missing)
    symbols.name(0xFFFFFFFFC0000100)
    symbols.name(0x1234)
    assert system.symbols_asked == b"".join(LINES.splitlines(keepends=True)[n] for n in (3, 5))
    kernel.host.files[PATH] = system.symbols_asked or b""
    again = kernel.system().kallsyms()
    assert not isinstance(again, Missing)
    assert again.name(0xFFFFFFFFC0000100) == "bpf_prog_0102030405060708_f"


def test_hidden_addresses_are_restricted_and_a_missing_file_unsupported() -> None:
    kernel = Kernel()
    kernel.host.files[PATH] = b"".join(b"0" * 16 + line[16:] + b"\n" for line in LINES.split(b"\n"))
    hidden = kernel.system().kallsyms()
    assert isinstance(hidden, Missing)
    assert hidden.reason is Reason.RESTRICTED
    assert "CAP_SYSLOG" in hidden.detail
    kernel.host.files[PATH] = errno.ENOENT
    absent = kernel.system().kallsyms()
    assert isinstance(absent, Missing)
    assert absent.reason is Reason.UNSUPPORTED
    assert kernel.system().symbols_asked is None


def test_damaged_addresses_name_nothing() -> None:
    data = b"ffffffff\x0181286bb0"[:16] + b" T __bpf_call_base\nffffffff81286bc0 T next\n"
    found = Kallsyms(data)
    assert found.call_base == 0
    assert found.place(0xFFFFFFFF00000000) is None
    assert found.place(0xFFFFFFFF81286BC4) == "next+0x4"
