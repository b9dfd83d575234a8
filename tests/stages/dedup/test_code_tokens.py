"""Code tokens against a regular expression, and what near-duplicate removal makes of programs."""

import re

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.dedup.code_minhash import MinhashDedupCode
from stages.dedup.code_tokens import code_tokens


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet="abZ_(=)'\"` \n\té漢19", max_size=40), min_size=1, max_size=5))
def test_tokens_are_those_of_a_regular_expression(texts):
    hashes, begins, ends, starts = code_tokens(pa.array(texts, pa.large_string()))
    known = {}
    for d, text in enumerate(texts):
        raw = text.encode()
        expected = re.findall(rb"[0-9A-Za-z_\x80-\xff]+|[!-/:-@\[-`{-~]", raw)
        places = range(starts[d], starts[d + 1])
        assert [raw[begins[w] : ends[w]] for w in places] == expected
        for w, token in zip(places, expected, strict=True):
            folded = b'"' if token in (b"'", b"`") else token.lower()
            assert known.setdefault(folded, hashes[w]) == hashes[w]
    assert len(set(known.values())) == len(known)


def test_signs_count_and_layout_does_not():
    stage = MinhashDedupCode()
    stage.setup()
    body = "\n".join(f"    def get_{i}(self):\n        return self.value_{i} + {i}" for i in range(40))
    texts = [
        body,
        body.replace("    ", "\t").replace(" + ", "+"),
        body.replace("self.value", "self -> value").replace("+", "?"),
    ]
    signed = stage.signatures(pa.array(texts, pa.large_string()))
    assert (signed.sketches[0] == signed.sketches[1]).all()
    assert (signed.sketches[0] == signed.sketches[2]).mean() < 0.5
