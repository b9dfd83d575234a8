"""Whether a tar archive ended where its listing did.

Python's tarfile takes a damaged header, or half of one, for the end of the archive unless it is the first: the files
behind it would be missing without a word. And the checksum of a packed archive stands behind what tarfile reads.
"""

from __future__ import annotations

import tarfile
from typing import IO


def check_end(archive: tarfile.TarFile, stored: IO[bytes]) -> None:
    """Call it when all members of an archive, opened from the file `stored`, have been listed.

    tarfile.ReadError if something else than the end stands there; whatever unpacking raises if what has been read does
    not have its checksum. Archives without the two blocks of zeros at their end are common, and are whole.
    """
    file = archive.fileobj
    assert file is not None
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"what stands at byte {archive.offset} is no header of a file")
    if file is not stored:
        while file.read(1 << 20):
            continue
