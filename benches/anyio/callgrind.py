"""Owns the switch of callgrind from inside the program that it counts; must never count by itself.

valgrind reads a request from a sequence of instructions that does nothing on a bare processor; C
programs have it from a header. Here it stands as bytes in a page of its own, so nothing must be
compiled.
"""

from __future__ import annotations

import ctypes
import mmap
import platform

#: rax = the address of the request, rdx = the answer outside of valgrind; then the sequence.
CODE = bytes.fromhex("4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3")

#: The requests of callgrind, from its header.
TOOL = ord("C") << 24 | ord("T") << 16
START, STOP = TOOL + 4, TOOL + 5
#: Valgrind answers how many of it run, one inside the other: none on a bare processor.
RUNNING_ON = 0x1001


class Switch:
    """Begins and ends the counting."""

    def __init__(self) -> None:
        if platform.machine() not in ("x86_64", "AMD64"):
            raise SystemExit("the switch of callgrind is written for x86_64 only")
        rights = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=rights)
        self._page.write(CODE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        self._call = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(address)

    def _request(self, which: int) -> int:
        words = (ctypes.c_uint64 * 6)(which, 0, 0, 0, 0, 0)
        answer: int = self._call(ctypes.addressof(words))
        return answer

    def is_counted(self) -> bool:
        """Return whether the program runs in valgrind."""
        return self._request(RUNNING_ON) > 0

    def start(self) -> None:
        """Count from here on."""
        self._request(START)

    def stop(self) -> None:
        """Count no more."""
        self._request(STOP)
