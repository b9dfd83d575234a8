"""Names the licence that a page's links, metadata or words point to, as one short identifier.

What a page may be used for is asked long after it was crawled, when the page itself is gone, so the hint is taken at
extraction. Pages write the same licence as an address with or without language and scheme, as an abbreviation, or
spelled out; all become the identifier that SPDX gives it, in lower case: `cc-by-sa-4.0`, `cc-by-3.0-de`, `cc0-1.0`.

The trade-off: only licences with an address or name of their own are known. A link to a site's terms of use gives
nothing, as nobody can say what it means without reading it.
"""

from __future__ import annotations

import re

_CC_ADDRESS = re.compile(
    r"creativecommons\.org/(?:licen[sc]es|publicdomain)/([a-z+-]{2,20})(?![a-z])/?(?:(\d\.\d)(?!\d))?(?:/(igo|[a-z]{2})(?![a-z.]))?",
    re.IGNORECASE,
)
_CC_SHORT = re.compile(
    r"\bcc[\s_-]{0,2}(by(?:[\s_/-]{1,2}(?:nc|nd|sa)(?![a-z])){0,3})(?![a-z])[\s_-]{0,2}(?:v\.? ?)?(\d\.\d)?(?!\d)",
    re.IGNORECASE,
)
_CC_ZERO = re.compile(r"\bcc[\s-]?(?:0|zero)(?![\w])", re.IGNORECASE)
_CC_WORDS = re.compile(
    r"\b(attribution(?:[\s-]{1,3}(?:non-?commercial|no-?deriv(?:ative)?s|share-?alike)){0,3})(?:\s+(\d\.\d)(?!\d))?",
    re.IGNORECASE,
)
_PUBLIC = {"zero": "cc0", "mark": "cc-pdm", "publicdomain": "cc-pddc"}
_PARTS = ("by", "nc", "nd", "sa")
#: Licences 1.0 had some without `by`; `sampling` and the others that were withdrawn are not text licences.
_KNOWN = {"by", "by-sa", "by-nd", "by-nc", "by-nc-sa", "by-nc-nd", "sa", "nd", "nc", "nc-sa", "nc-nd"}

#: Addresses of licences other than Creative Commons, with what stands for them; `{}` takes the version.
_OTHERS = (
    (r"gnu\.org/(?:licenses(?:/old-licenses)?|copyleft)/fdl(?:-(\d\.\d))?", "gfdl{}"),
    (r"gnu\.org/(?:licenses(?:/old-licenses)?|copyleft)/(l?a?gpl)(?:-(\d\.\d))?", "{}"),
    (r"opensource\.org/licen[sc]es?/mit(?:-license)?(?![a-z-])", "mit"),
    (r"opensource\.org/licen[sc]es?/(bsd-[23]-clause)", "{}"),
    (r"apache\.org/licenses/license-(\d\.\d)", "apache{}"),
    (r"opensource\.org/licen[sc]es?/apache-(\d\.\d)", "apache{}"),
    (r"opendatacommons\.org/licenses/odbl(?:/(\d[.-]\d))?", "odbl{}"),
    (r"opendatacommons\.org/licenses/by(?:/(\d[.-]\d))?", "odc-by{}"),
    (r"opendatacommons\.org/licenses/pddl(?:/(\d[.-]\d))?", "pddl{}"),
    (r"nationalarchives\.gov\.uk/doc/open-government-licence(?:/version/(\d))?", "ogl-uk{}"),
    (r"etalab\.gouv\.fr/(?:[\w-]{1,40}/)*licence-ouverte", "etalab"),
)
_ADDRESSES = [(re.compile(rf"(?:^|//)(?:[a-z]{{1,10}}\.)?{pattern}", re.IGNORECASE), name) for pattern, name in _OTHERS]


def license_of(value: str) -> str | None:
    """The identifier of the licence that an address or a statement names; None if it names none that is known.

    Only the first 1,000 characters are looked at.
    """
    value = value[:1000]
    if found := _CC_ADDRESS.search(value):
        return _creative_commons(*found.groups())
    for pattern, name in _ADDRESSES:
        if found := pattern.search(value):
            said = [
                part.lower().replace("-", ".") if part[0].isdigit() else part.lower() for part in found.groups() if part
            ]
            if "{}" not in name:
                return name
            if len(said) == 1 and name != "{}" and name.startswith("ogl"):
                said[0] += ".0"
            return "-".join([*([] if name == "{}" else [name[:-2]]), *said])
    if found := _CC_SHORT.search(value):
        return _creative_commons(re.sub(r"[\s_/]+", "-", found[1]), found[2], None)
    if _CC_ZERO.search(value):
        return "cc0-1.0"
    if "reative" in value and (found := _CC_WORDS.search(value)):
        words = found[1].lower().replace("-", "")
        parts = [
            part
            for part, word in zip(_PARTS, ("attr", "noncom", "noderiv", "sharealike"), strict=True)
            if word in words
        ]
        return _creative_commons("-".join(parts), found[2], None)
    return None


def _creative_commons(kind: str, version: str | None, port: str | None) -> str | None:
    """The identifier of a Creative Commons licence; its parts come in any order."""
    kind = kind.lower()
    if kind in _PUBLIC:
        return f"{_PUBLIC[kind]}-1.0" if kind != "publicdomain" else _PUBLIC[kind]
    parts = kind.split("-")
    kind = "-".join(part for part in _PARTS if part in parts)
    if kind not in _KNOWN or not set(parts) <= set(_PARTS):
        return None
    return "-".join(["cc", kind, *(part.lower() for part in (version, port) if part)])


def agreed(licenses: set[str]) -> str | None:
    """The licence that all of these are, one without a version being any of its versions; None if they differ."""
    most = max(licenses, key=lambda name: (len(name), name), default=None)
    return (
        most
        if most
        and all(most == name or (most.startswith(f"{name}-") and most[len(name) + 1].isdigit()) for name in licenses)
        else None
    )
