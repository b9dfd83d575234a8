"""Tells what a payload is before any PDF engine sees it.

An engine opens whatever it can: MuPDF takes an HTML error page named `.pdf` for a document of one page. And the
commonest damage on the web is a file cut short, which an engine reports in a dozen ways. Both show in the bytes.
"""

from __future__ import annotations

import re

#: Readers look for the header in the first kilobyte (ISO 32000-1, Annex H, implementation note 13).
_HEAD = 1024
#: Bytes at the end in which `%%EOF` is looked for. Servers append line ends, scripts and zeros.
_TAIL = 4096
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body|title|meta|script|div)\b", re.IGNORECASE)
_EOF = re.compile(rb"%%EOF|startxref\s+\d+")


def is_pdf(payload: bytes) -> bool:
    """Whether a payload has a PDF header where readers look for one."""
    return b"%PDF-" in payload[:_HEAD]


def problem(payload: bytes) -> str | None:
    """Why no engine should open a payload: `empty`, `html`, `not_pdf`, `header_only`. Null if one should."""
    if not payload.strip(b"\0\t\r\n "):
        return "empty"
    if not is_pdf(payload):
        return "html" if _HTML.search(payload[:_HEAD]) else "not_pdf"
    if len(payload) < 67 and b"obj" not in payload:  # the smallest file that any reader shows has 67 bytes
        return "header_only"
    return None


def is_cut(payload: bytes) -> bool:
    """Whether a PDF lacks its end."""
    return _EOF.search(payload.rstrip(b"\0\t\r\n ")[-_TAIL:]) is None
