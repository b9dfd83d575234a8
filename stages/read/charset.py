"""Decodes a page's bytes to text, whatever its server, its markup or nobody says about the encoding."""

from __future__ import annotations

import codecs


def decode(payload: bytes, http_charset: str | None) -> tuple[str, str]:
    try:
        return payload.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        pass
    from resiliparse.parse.encoding import detect_encoding

    name = detect_encoding(payload) or "cp1252"
    try:
        return payload.decode(name, "replace"), codecs.lookup(name).name
    except LookupError:
        return payload.decode("cp1252", "replace"), "cp1252"
