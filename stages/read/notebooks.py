"""Turns a Jupyter notebook into text and code: its prose as it is, its cells as fenced blocks, in their order.

A notebook's file is JSON in which a picture's base64 is most of the bytes and the code is strings of escaped lines.
What it says is the alternation of explanation, code and short printed results, which Markdown shows.

Trade-off: pictures, HTML and errors of outputs are left out, and printed output beyond `MOST_OUTPUT` characters a cell.
"""

from __future__ import annotations

import json
from typing import Any

#: Characters of printed output that a cell may show.
MOST_OUTPUT = 500


def _text(value: Any) -> str:
    return (
        "".join(v for v in value if isinstance(v, str))
        if isinstance(value, list)
        else value
        if isinstance(value, str)
        else ""
    )


def _printed(outputs: Any) -> str:
    parts = []
    for output in outputs if isinstance(outputs, list) else []:
        if isinstance(output, dict):
            data = output.get("data")
            parts.append(_text(output.get("text")) or _text(data.get("text/plain") if isinstance(data, dict) else ""))
    return "".join(parts).strip("\n")


def notebook_text(source: str) -> str:
    """The notebook as Markdown. ValueError if it is none."""
    book = json.loads(source)
    if not isinstance(book, dict):
        raise ValueError("a notebook is an object")
    cells = book.get("cells")
    if cells is None:  # format 3 and older
        sheets = book.get("worksheets")
        cells = [cell for sheet in sheets or [] if isinstance(sheet, dict) for cell in sheet.get("cells") or []]
    if not isinstance(cells, list):
        raise ValueError("a notebook has cells")
    kernel = (book.get("metadata") or {}).get("language_info") if isinstance(book.get("metadata"), dict) else None
    language = str(kernel.get("name", "python")) if isinstance(kernel, dict) else "python"
    parts = []
    for cell in cells:
        if not isinstance(cell, dict):
            continue
        text = _text(cell.get("source", cell.get("input"))).strip("\n")
        if cell.get("cell_type") != "code":
            parts.append(text)
        elif text:
            fence = "````" if "```" in text else "```"
            parts.append(f"{fence}{language}\n{text}\n{fence}")
            printed = _printed(cell.get("outputs"))
            if 0 < len(printed) <= MOST_OUTPUT:
                parts.append(f"{fence}output\n{printed}\n{fence}")
    return "\n\n".join(part for part in parts if part)
