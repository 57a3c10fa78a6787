"""`Handle`: an object of the kernel, kept alive by an fd that belongs to us."""

from __future__ import annotations

import warnings
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from bpflens.model.system import System


class Handle:
    """Owns one fd. Close it, or use it as a context manager: what is open keeps the object alive.

    An object that is dropped without that closes itself and warns (ResourceWarning), as files do.
    """

    __slots__ = ("_closed", "fd", "system")

    kind: ClassVar[str]

    def __init__(self, system: System, fd: int) -> None:
        self.system = system
        self.fd = fd
        self._closed = False

    def close(self) -> None:
        """Close the fd; a second time does nothing."""
        if not self._closed:
            self._closed = True
            self.system.calls.close(self.fd)

    @property
    def closed(self) -> bool:
        """Whether the fd is closed."""
        return self._closed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            try:
                warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            finally:  # also where warnings are errors
                self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"fd {self.fd}"
        return f"<{type(self).__name__} {state}>"
