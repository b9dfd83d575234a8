"""Replaces keys, tokens and passwords in source code, so that no model learns a credential by heart.

Services give their keys a shape of their own (`AKIA…`, `ghp_…`, `-----BEGIN … PRIVATE KEY-----`), by which they are
found without doubt. A password in an assignment has none: there the name says what it is, and the value must look drawn
by lot, for `password = "password"` is an example and not a secret.

Trade-off: shapes that are listed are found; a key of 32 letters under the name `x` is not.
"""

from __future__ import annotations

import math
import re
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from curation.stage import Stage

#: What a secret becomes: it parses wherever a name or a string's content may stand.
PLACEHOLDER = "SECRET_REMOVED"

#: Kind -> pattern of the whole secret, for RE2 and Python alike.
SHAPES = {
    "private_key": r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-[^-])*-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----",  # noqa: E501
    "aws": r"\b(?:AKIA|ASIA|AGPA|AROA|AIPA|ANPA|ANVA|AIDA)[A-Z2-7]{16}\b",
    "github": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{50,255})\b",
    "gitlab": r"\bglpat-[A-Za-z0-9_-]{20,64}\b",
    "slack": r"\bxox[abeoprs]-[A-Za-z0-9-]{20,250}|https://hooks\.slack\.com/services/T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]+",
    "google": r"\bAIza[A-Za-z0-9_-]{35}\b|\bya29\.[A-Za-z0-9_-]{30,300}",
    "stripe": r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{20,250}\b",
    "openai": r"\bsk-(?:proj-|ant-[a-z0-9]+-|svcacct-)?[A-Za-z0-9_-]{40,250}\b",
    "huggingface": r"\bhf_[A-Za-z]{34,40}\b",
    "npm": r"\bnpm_[A-Za-z0-9]{36}\b",
    "pypi": r"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,300}",
    "sendgrid": r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}\b",
    "twilio": r"\bSK[0-9a-f]{32}\b",
    "jwt": r"\beyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{20,1000}",
    "azure": r"\bAccountKey=[A-Za-z0-9+/]{86}==",
}  # fmt: skip
#: What one of them begins with, for RE2: a pass over the column tells which texts to look at.
_ANY = (
    r"PRIVATE KEY|\bA(?:KIA|SIA|GPA|ROA|IPA|NPA|NVA|IDA)[A-Z2-7]|\bgh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|hooks\.slack"  # noqa: E501
    r"|AIza|ya29\.|[sr]k_(?:live|test)_|\bsk-|\bhf_|\bnpm_|pypi-Ag|\bSG\.|\bSK[0-9a-f]|\beyJ|AccountKey="
)
_URL = re.compile(r"(\b[a-z][a-z0-9+.-]{2,12}://[^\s:/@\"'<>{}$]{1,80}:)([^\s:/@\"'<>{}$]{6,100})(?=@[\w.-]+)")
_ASSIGNED = re.compile(
    r"((?i:\b[\w.-]{0,40}(?:passwd|password|secret|api_?key|access_?key|auth_?token|access_?token|private_?key|credential)"
    r"[\w.-]{0,30})[\"']?\s{0,4}(?:=>|:=|=|:)\s{0,4}[rbu]?)([\"'])([^\"'\n\\]{8,200})\2"
)
_MAYBE = (
    r"(?i)(?:passwd|password|secret|api_?key|access_?key|auth_?token|access_?token|private_?key|credential)[\w.-]*[\"']?"
    r"\s*(?:=>|:=|=|:)\s*[rbu]?[\"']|://[^\s:/@]+:[^\s/@]+@"
)
#: Bits a character; random letters and digits of such a length have 3.5 and more, words 2.5 to 3.3.
_LEAST_ENTROPY = 3.4


def looks_random(value: str) -> bool:
    """Whether a string looks like drawn by lot: letters and digits mixed, no spaces, nearly all characters
    different."""
    if any(c.isspace() for c in value) or not re.search(r"\d", value) or not re.search(r"[A-Za-z]", value):
        return False
    if re.search(r"[<>{}$%()\[\]]|\.\.|example|changeme|placeholder|xxxx|1234", value, re.IGNORECASE):
        return False
    n = len(value)
    entropy = -sum(k / n * math.log2(k / n) for k in Counter(value).values())
    return entropy >= min(_LEAST_ENTROPY, 0.85 * math.log2(n))


class ReplaceSecrets(Stage, name="replace_secrets"):
    """Replaces secrets in the text by `SECRET_REMOVED`. Drops nothing.

    Found are private keys in PEM, the keys and tokens of Amazon, GitHub, GitLab, Slack, Google, Stripe, OpenAI, Hugging
    Face, npm, PyPI, SendGrid, Twilio and Azure, signed web tokens, passwords in addresses (`postgres://user:…@host`),
    and what is assigned to a name like `password`, `api_key` or `secret` and looks drawn by lot.

    Adds `secrets`, the number replaced in each document. Counters: `documents_changed`, `replaced=<kind>`.
    """

    def adds(self) -> dict[str, pa.DataType]:
        return {"text": pa.large_string(), "secrets": pa.int32()}

    def __call__(self, docs: pa.Table) -> pa.Table:
        text = docs["text"].combine_chunks().cast(pa.large_string())
        found = pc.fill_null(
            pc.or_(pc.match_substring_regex(text, _ANY), pc.match_substring_regex(text, _MAYBE)), False
        )
        count = [0] * docs.num_rows
        if pc.any(found).as_py():
            values = text.to_pylist()
            for row in pc.indices_nonzero(found).to_pylist():
                values[row], kinds = replace(values[row])
                count[row] = sum(kinds.values())
                for kind, n in kinds.items():
                    self.metrics.count(f"replaced={kind}", n)
                self.metrics.count("documents_changed", int(bool(kinds)))
            text = pa.array(values, pa.large_string())
        docs = docs.set_column(docs.schema.get_field_index("text"), "text", text)
        column = pa.array(count, pa.int32())
        place = docs.schema.get_field_index("secrets")
        return docs.append_column("secrets", column) if place < 0 else docs.set_column(place, "secrets", column)


def replace(text: str) -> tuple[str, Counter]:
    """The text without its secrets, and how many of each kind there were."""
    kinds: Counter = Counter()
    for kind, shape in SHAPES.items():
        text, n = re.subn(shape, PLACEHOLDER, text)
        if n:
            kinds[kind] += n

    def address(match: re.Match) -> str:
        if not looks_random(match.group(2)) and len(set(match.group(2))) < 8:
            return match.group()
        kinds["address"] += 1
        return f"{match.group(1)}{PLACEHOLDER}"

    def assigned(match: re.Match) -> str:
        if match.group(3) == PLACEHOLDER or not looks_random(match.group(3)):
            return match.group()
        kinds["assigned"] += 1
        return f"{match.group(1)}{match.group(2)}{PLACEHOLDER}{match.group(2)}"

    return _ASSIGNED.sub(assigned, _URL.sub(address, text)), kinds
