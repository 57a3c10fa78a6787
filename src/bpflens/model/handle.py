"""`Handle`: an object of the kernel, kept alive by an fd that belongs to us."""

from __future__ import annotations

import warnings
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Generic, Self, TypeVar

from bpflens.abi.infos import BtfInfo, LinkInfo, MapInfo, ProgInfo

if TYPE_CHECKING:
    from bpflens.model.system import System


Info = TypeVar("Info", ProgInfo, MapInfo, BtfInfo, LinkInfo)
Named = TypeVar("Named", ProgInfo, MapInfo)


class Handle(Generic[Info]):
    """Owns one fd. Close it, or use it as a context manager: what is open keeps the object alive.

    An object that is dropped without that closes itself and warns (ResourceWarning), as files do.
    """

    __slots__ = ("_basic", "_closed", "fd", "system")

    kind: ClassVar[str]
    record: type[Info]
    """The record that the kernel fills in for objects of this kind."""

    def __init__(self, system: System, fd: int) -> None:
        self.system = system
        self.fd = fd
        self._closed = False
        self._basic: Info | None = None

    def basic(self, fresh: bool = False) -> Info:
        """Everything that the kernel tells without being given buffers. Since: 4.13.

        Asked once; `fresh` asks again, for what changes (run counters).
        """
        if self._basic is None or fresh:
            self._basic = self.system.calls.info(self.fd, self.record)
        return self._basic

    @property
    def id(self) -> int:
        """The object's ID."""
        return self.basic().id

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


class NamedHandle(Handle[Named]):
    """An object with a name of its own."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """The name as far as the kernel keeps it: 15 characters, not unique, may be empty."""
        return self.basic().name.decode(errors="surrogateescape")
