"""BTF, the debug information of BPF: types read, shown as C, and used to read values.

`Btf` and the kinds of type are here; `bpflens.btf.declare`, `render`, `ext`, `build` and `cache`
are imported by those who need them, so that a program which needs a name pays for no more.
"""

from bpflens.btf.parse import Btf
from bpflens.btf.types import Type

__all__ = ["Btf", "Type"]
