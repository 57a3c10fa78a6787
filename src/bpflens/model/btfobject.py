"""`BtfObject`: types that the kernel keeps: its own, a module's, or those of programs and maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bpflens.abi.infos import BtfInfo
from bpflens.abi.record import tells
from bpflens.errors import FormatError
from bpflens.model.handle import Handle
from bpflens.model.parts import Missing, Reason

if TYPE_CHECKING:
    from bpflens.btf.parse import Btf

VMLINUX = "/sys/kernel/btf/vmlinux"
"""The kernel's own types, which anyone may read. Since: 5.4."""


class BtfObject(Handle[BtfInfo]):
    """A BTF object; every method is one question to the kernel."""

    __slots__ = ()

    kind: ClassVar[str] = "BTF object"
    record = BtfInfo

    @property
    def size(self) -> int:
        """Bytes of the raw BTF."""
        return self.basic().btf_size

    def kernel(self) -> bool | Missing:
        """Whether it is the kernel's or a module's. Since: 5.11."""
        told = self.basic()
        return bool(told.kernel_btf) if tells(told, "kernel_btf") else _UNTOLD

    def name(self) -> str | Missing:
        """`vmlinux` or the module's name; programs' and maps' objects have none. Since: 5.11."""
        if not tells(self.basic(), "name"):
            return _UNTOLD
        name = self.system.calls.btf_name(self.fd)
        return name.decode(errors="surrogateescape") if name else _NAMELESS

    def data(self) -> bytes:
        """The raw BTF; of a module without what it shares with the kernel's."""
        return self.system.calls.btf_data(self.fd, self.size)

    def types(self) -> Btf | Missing:
        """The types; those of a module continue the kernel's."""
        from bpflens.btf.parse import Btf  # 10 ms, for which few commands have a use

        base = None
        if self.kernel() is True:
            types = self.system.kernel_types()
            if isinstance(types, Missing) or self.name() == "vmlinux":
                return types
            base = types
        try:
            return Btf.parse(self.data(), base)
        except FormatError as error:
            return Missing(Reason.FAILED, f"BTF object {self.id}: {error}")


_UNTOLD = Missing(Reason.UNSUPPORTED, "this kernel does not tell it")
_NAMELESS = Missing(Reason.NONE, "only the kernel's and its modules' have a name")
