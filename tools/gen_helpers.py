"""Print `src/bpflens/insn/helpers.py`: the helper table, read from a kernel's BTF.

    python tools/gen_helpers.py 6.18 [FILE] > src/bpflens/insn/helpers.py

FILE is raw BTF of that kernel and defaults to the running one's. Helper ids are ABI: a number
never changes its name, and since kfuncs took over the list has grown no more (Linux 6.4).
"""

from __future__ import annotations

import sys

from bpflens.btf.parse import Btf
from bpflens.btf.types import Enum

PREFIX = "BPF_FUNC_"
HEAD = '''"""Helper ids and names, as of Linux {release}.

Written by tools/gen_helpers.py; do not edit.
"""

from __future__ import annotations

HELPERS: dict[int, str] = {{
'''
TAIL = '''}
"""Helper id to its name without the `bpf_` in front, as enum bpf_func_id has it."""

HELPER_IDS: dict[str, int] = {name: id for id, name in HELPERS.items()}


def helper_name(id: int) -> str | None:
    """The name that the kernel's disassembler gives helper `id`; None for an unknown one."""
    name = HELPERS.get(id)
    return name and f"bpf_{name}"
'''


def render(btf: Btf, release: str) -> str:
    """The text of the module for one kernel's BTF."""
    functions = btf.find("bpf_func_id", Enum)
    if functions is None:
        raise SystemExit("no enum bpf_func_id in this BTF")
    rows = sorted(
        (value, name.removeprefix(PREFIX))
        for name, value in functions.values
        if name.startswith(PREFIX)
    )
    body = "".join(f'    {id}: "{name}",\n' for id, name in rows)
    return HEAD.format(release=release) + body + TAIL


def main(release: str, path: str = "/sys/kernel/btf/vmlinux") -> None:
    """Write the module to standard output."""
    with open(path, "rb") as file:
        sys.stdout.write(render(Btf.parse(file.read()), release))


if __name__ == "__main__":
    main(*sys.argv[1:])
