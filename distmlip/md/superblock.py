"""What a process that could not close an HDF5 file leaves in its first block, and how it is put in order.

While it writes there is a mark, which keeps others from writing; and the file may be shorter than this block
says, where the process was killed, or the disk was full, before the end was written. HDF5's own tool for that
(h5clear) comes with no Python package.
"""

from __future__ import annotations

import os
from pathlib import Path

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_VERSIONS = (2, 3)  # of superblocks that have the mark, and a checksum
_FLAGS, _FILE_END, _CHECKSUM, _END = 11, 28, 44, 48  # bytes, with addresses of eight bytes
_MASK = 0xFFFFFFFF


def mend(path: Path) -> bool:
    """Take the mark off a file that nobody has open, and make it as long as it says; whether there was one.

    What is added at the end was never reported as written. Files of other kinds stay as they are: h5py says
    what is wrong with them.
    """
    with path.open("r+b") as file:
        block = bytearray(file.read(_END))
        is_known = len(block) == _END and block[:8] == _SIGNATURE and block[8] in _VERSIONS and block[9] == 8
        if not is_known or block[_FLAGS] == 0 or _checksum(block[:_CHECKSUM]) != block[_CHECKSUM:]:
            return False
        end = int.from_bytes(block[_FILE_END : _FILE_END + 8], "little")
        if os.fstat(file.fileno()).st_size < end:
            file.truncate(end)
        block[_FLAGS] = 0
        block[_CHECKSUM:] = _checksum(block[:_CHECKSUM])
        file.seek(0)
        file.write(block)
    return True


def _checksum(data: bytes | bytearray) -> bytes:
    """Bob Jenkins' lookup3 (hashlittle, public domain), which HDF5 uses for its metadata."""
    a = b = c = (0xDEADBEEF + len(data)) & _MASK
    words = [
        int.from_bytes(data[k : k + 4].ljust(4, b"\0"), "little")
        for k in range(0, -(-len(data) // 12) * 12, 4)
    ]
    for k in range(0, len(words), 3):
        a, b, c = ((x + word) & _MASK for x, word in zip((a, b, c), words[k : k + 3], strict=True))
        a, b, c = _mixed(a, b, c) if k + 3 < len(words) else _mixed_at_the_end(a, b, c)
    return c.to_bytes(4, "little")


def _turned(x: int, n: int) -> int:
    return ((x << n) | (x >> (32 - n))) & _MASK


def _mixed(a: int, b: int, c: int) -> tuple[int, int, int]:
    for n in (4, 6, 8, 16, 19, 4):
        a = ((a - c) & _MASK) ^ _turned(c, n)
        c = (c + b) & _MASK
        a, b, c = b, c, a  # the three take turns
    return a, b, c


def _mixed_at_the_end(a: int, b: int, c: int) -> tuple[int, int, int]:
    for n in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _turned(b, n)) & _MASK
        a, b, c = b, c, a
    return c, a, b
