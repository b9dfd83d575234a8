"""Turns a rendered page into what a model is sent, and tells a page without ink before anything is sent.

A vision model asked about a blank page invents one. So a page's pixels are looked at first: a leaf that is blank but
for specks and a shadow has next to no pixels that are clearly darker than its paper.
"""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

#: Share of pixels darker than the paper by `_DARKER` grey levels, below which a page is blank: a line of text on a page
#: of its own has three times as many.
INK = 0.0004
_DARKER = 60
_MARGIN = 0.03  # of each side, where scans have shadows


def is_blank(width: int, height: int, grey: bytes) -> bool:
    """Whether a page of grey levels shows nothing but paper."""
    pixels = np.frombuffer(grey, np.uint8).reshape(height, width)
    x, y = int(_MARGIN * width), int(_MARGIN * height)
    inside = pixels[y : height - y or None, x : width - x or None]
    paper = int(np.median(inside)) if inside.size else 255
    # Light letters on a dark page are ink as well.
    return bool((np.abs(inside.astype(np.int16) - paper) > _DARKER).mean() < INK) if inside.size else True


def png(width: int, height: int, grey: bytes) -> bytes:
    """A page of grey levels as a PNG file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = np.empty((height, width + 1), np.uint8)
    rows[:, 0] = 0  # no filter
    rows[:, 1:] = np.frombuffer(grey, np.uint8).reshape(height, width)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(rows.tobytes(), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def data_url(image: bytes) -> str:
    """A PNG file as a URL that holds it."""
    return "data:image/png;base64," + base64.b64encode(image).decode()
