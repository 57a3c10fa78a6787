"""The names of what links are attached to: functions, symbols, cgroups, maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bpflens.abi.enums import MapType
from bpflens.abi.infos import MapInfo, ProgInfo
from bpflens.abi.record import tells
from bpflens.errors import BpflensError, FormatError
from bpflens.model.parts import Missing, Reason, attempt
from bpflens.model.program import NAME_MAX, Program

if TYPE_CHECKING:
    from bpflens.attach.places import Places
    from bpflens.model.link import LinkFacts

_STRUCT_OPS = "bpf_struct_ops_"
"""What the type of a struct_ops map's value is called before the interface (STRUCT_OPS_VALUE)."""

LSM = "bpf_lsm_"
"""What the function that stands for a hook of the Linux security modules begins with."""


class Known(NamedTuple):
    """What a program tells of itself, and its whole name, or as much as the kernel keeps of it."""

    info: ProgInfo
    name: str


class Targets:
    """The names of one look; each object is asked for its own once."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self._system = places.system
        self.infos: dict[int, ProgInfo] = {}
        """Programs that somebody has asked about already, by their IDs."""
        self._programs: dict[int, Known | Missing] = {}
        self._maps: dict[int, MapInfo | Missing] = {}
        self._modules: dict[int, str | Missing] = {}

    # --- objects

    def program(self, id: int) -> Known | Missing:
        """What a program is."""
        if id not in self._programs:
            self._programs[id] = attempt(self._read_program, id)
        return self._programs[id]

    def _read_program(self, id: int) -> Known:
        info = self.infos.get(id)
        if info is not None and len(info.name) < NAME_MAX:  # nothing was cut off
            return Known(info, info.name.decode(errors="surrogateescape"))
        with self._system.program(id) as program:
            whole = attempt(Program.full_name, program)
            return Known(program.basic(), program.name if isinstance(whole, Missing) else whole)

    def map(self, id: int) -> MapInfo | Missing:
        """What the kernel tells of a map."""
        if id not in self._maps:
            self._maps[id] = attempt(self._read_map, id)
        return self._maps[id]

    def _read_map(self, id: int) -> MapInfo:
        with self._system.map(id) as found:
            return found.basic()

    def struct_ops(self, id: int) -> str | Missing:
        """The interface that a struct_ops map implements and its name: `tcp_congestion_ops
        dctcp`."""
        told = self.map(id)
        if isinstance(told, Missing):
            return told
        name = told.name.decode(errors="surrogateescape")
        if told.type != MapType.STRUCT_OPS or not told.btf_vmlinux_value_type_id:
            return name
        # Since 6.9 the type can be a module's, and the info says whose.
        btf = self._system.btf(told.btf_vmlinux_id) if told.btf_vmlinux_id else None
        types = btf or self._system.kernel_types()
        if isinstance(types, Missing):
            return types
        try:
            kind = types.type_name(told.btf_vmlinux_value_type_id)
        except FormatError as error:
            return Missing(Reason.FAILED, str(error))
        return f"{kind.removeprefix(_STRUCT_OPS)} {name}".strip()

    # --- functions

    def function(self, link: LinkFacts) -> str | Missing:
        """What a tracing link traces or replaces: `vfs_read`, `xfs_file_read [xfs]`, or of another
        program `program 12 func`."""
        if not link.target_btf_id:
            return Missing(Reason.UNSUPPORTED, "this kernel does not tell what is traced")
        if not self._on_program(link):
            return self.kernel_function(link.target_obj_id or 0, link.target_btf_id)
        # bpf_trampoline_compute_key(): the first number is the ID of the program then
        id = link.target_obj_id or 0
        told = self.program(id)
        if isinstance(told, Missing):
            return f"program {id}"
        name = self._system.btf_name(told.info.btf_id, link.target_btf_id)
        return f"program {id}" if isinstance(name, Missing) else f"program {id} {name}"

    def traced_program(self, link: LinkFacts) -> int | None:
        """The ID of the program, a function of which a link traces or replaces; None for others."""
        return link.target_obj_id if link.target_btf_id and self._on_program(link) else None

    def _on_program(self, link: LinkFacts) -> bool:
        """Whether it is a program that is traced or replaced."""
        if not link.attach_type:  # freplace alone has none
            return True
        told = self.program(link.prog_id)
        if isinstance(told, Missing) or not tells(told.info, "attach_btf_id"):
            return False
        # bpf_prog_get_info_by_fd(): what is attached to a program has no BTF object of its target
        return not told.info.attach_btf_obj_id and bool(told.info.attach_btf_id)

    def kernel_function(self, btf_id: int, type_id: int) -> str | Missing:
        """The name of a function in the BTF of the kernel or of a module."""
        name = self._system.btf_name(btf_id, type_id)
        if isinstance(name, Missing):
            return name
        if btf_id not in self._modules:
            self._modules[btf_id] = attempt(self._read_module, btf_id)
        module = self._modules[btf_id]
        known = not isinstance(module, Missing) and module != "vmlinux"
        return f"{name} [{module}]" if known else name

    def _read_module(self, btf_id: int) -> str | Missing:
        with self._system.btf_object(btf_id) as found:
            return found.name()

    def traced(self, prog_id: int) -> str | Missing:
        """The function that a program was loaded for; of an LSM program the hook: `file_open`."""
        told = self.program(prog_id)
        if isinstance(told, Missing):
            return told
        if not told.info.attach_btf_id:
            return Missing(Reason.UNSUPPORTED, "this kernel does not tell what is traced")
        name = self.kernel_function(told.info.attach_btf_obj_id, told.info.attach_btf_id)
        return name.removeprefix(LSM) if isinstance(name, str) else name

    def symbol(self, address: int) -> str:
        """The symbol at an address: `vfs_read`, `vfs_read+0x10`, `xfs_file_read [xfs]`; the address
        itself where no symbol is known."""
        symbols = self._system.kallsyms()
        if isinstance(symbols, Missing):
            return hex(address)
        return symbols.place(address) or hex(address)

    # --- places

    def cgroup(self, id: int) -> str | Missing:
        """The path of a cgroup from the root."""
        try:
            path = self.places.cgroups.get(id)
        except (BpflensError, OSError) as error:
            return Missing(Reason.FAILED, str(error))
        return path or Missing(Reason.GONE, f"no directory of cgroup {id} in any cgroup2 mount")
