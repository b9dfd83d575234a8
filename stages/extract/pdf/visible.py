"""Whether light text on a page can be seen: no engine says what lies behind it, so its pixels are looked at."""

from __future__ import annotations

import numpy as np

WHITE = 0xE8  # from this value of each colour on, text counts as white until the pixels say otherwise
PROBE_SIDE = 1000  # pixels of the longer side of a page rendered to see whether white text shows
_CONTRAST = 40  # grey levels that text must stand out by


def shows(grey: np.ndarray, scale: float, boxes: np.ndarray) -> np.ndarray:
    """Whether the pixels inside boxes differ from each other, as they do where text can be seen; bool (n,).

    grey: uint8 (height, width). scale: pixels per point. boxes: (n, 4), left, top, right, bottom in points.
    """
    seen = np.zeros(len(boxes), bool)
    for i, (left, top, right, bottom) in enumerate((boxes * scale).astype(int).clip(0).tolist()):
        part = grey[top : bottom + 1, left : right + 1]
        seen[i] = part.size > 0 and int(part.max()) - int(part.min()) >= _CONTRAST
    return seen
