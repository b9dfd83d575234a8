"""drop_repeated_lines: what a site repeats goes, what a document says stays, however the corpus is cut."""

import re
import unicodedata
from collections import Counter
from itertools import chain, pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.dedup.lines import DropRepeatedLines

HEADER = ["Startseite | Über uns | Kontakt", "Accueil · Boutique · Panier", "首页 产品 联系我们", "Главная Новости"]
FOOTER = [
    "We use cookies to improve this site. Read how.",
    "Wir verwenden Cookies, um diese Seite zu verbessern.",
    "本网站使用 Cookie，继续浏览即表示同意。",
    "© 2024 Bibliothek am Fluss – alle Rechte vorbehalten",
]
TOPICS = ["rivers", "mills", "bridges", "owls", "lanterns", "clocks", "maps", "kilns", "orchards", "ferries", "looms"]
TOPICS.append("quarries")


def body(topic):
    return (
        f"A short history of {topic}\n\nNobody remembers who first wrote about {topic} in the valley.\n"
        f"An old ledger names {topic} twice, in {len(topic)} words.\n\nThe last part is about what {topic} mean today."
    )


def site(topics=TOPICS):
    return ["\n".join(HEADER) + "\n\n" + body(t) + "\n\n" + "\n".join(FOOTER) for t in topics]


def addresses(host, n):
    return [f"https://{host}/page/{i}" for i in range(n)]


@pytest.fixture
def clean(run_barrier):
    """(texts, reasons, stage) of a table after the stage."""

    def call(docs, batch_rows=1000, **keys):
        stage = DropRepeatedLines(**keys)
        (outcome,), _ = run_barrier(stage, [docs], batch_rows)
        return outcome.docs["text"].to_pylist(), outcome.dropped.to_pylist(), stage

    return call


def test_header_and_footer_of_a_site_go_and_its_articles_stay(documents, clean):
    texts, dropped, stage = clean(documents(site(), url=addresses("bibliothek.example", len(TOPICS))))
    assert texts == [body(t) for t in TOPICS]
    assert set(dropped) == {None}
    counters = stage.metrics.counters
    assert counters["documents_changed"] == len(TOPICS)
    assert counters["lines_removed"] == len(TOPICS) * 8
    assert counters["repeated_lines"] == 8
    assert counters["hosts"] == 1
    lost = sum(len(a) - len(body(t)) for a, t in zip(site(), TOPICS, strict=True))
    assert counters["characters_removed"] == lost
    assert sum(stage.metrics.histograms["removed_share"].counts) == len(TOPICS)


def test_the_same_line_once_on_another_host_stays(documents, clean):
    quoting = "They all greet with this line:\n" + FOOTER[0] + "\nand mean it."
    docs = documents(
        [*site(), quoting, *[body(t.upper()) for t in TOPICS]],
        url=addresses("bibliothek.example", 12) + addresses("other.example", 13),
    )
    texts, dropped, _ = clean(docs)
    assert texts[12] == quoting
    assert set(dropped) == {None}


def test_subdomains_are_hosts_and_spellings_of_one_host_are_not(documents, clean):
    spellings = ["https://www.a.example/", "http://A.example:80/x?y", "//a.example#z"] * 4
    texts, _, _ = clean(documents(site(), url=[f"{u}{i}" for i, u in enumerate(spellings)]))
    assert texts == [body(t) for t in TOPICS]
    texts, _, _ = clean(documents(site(), url=[f"https://s{i}.a.example/" for i in range(12)]))
    assert texts == site()


def test_documents_without_host_are_counted_by_source(documents, clean):
    urls = [None, "", "no address"] * 4
    texts, _, stage = clean(documents(site(), url=[None] * 12))
    assert texts == [body(t) for t in TOPICS]
    assert stage.metrics.counters["hosts"] == 1  # though its count is told to all partitions
    texts, _, _ = clean(documents(site(), url=[None] * 12, source=[f"s{i}" for i in range(12)]))
    assert texts == site()
    assert clean(documents(site(), url=urls, source=[None] * 12))[1] == [None] * 12


def test_scope_corpus_counts_all_hosts_together(documents, clean):
    docs = documents(site(), url=[f"https://s{i}.example/" for i in range(12)])
    assert clean(docs, scope="corpus")[0] == [body(t) for t in TOPICS]
    assert clean(docs, scope="host")[0] == site()


def test_copies_of_a_line_in_one_document_count_once(documents, clean):
    texts = [body(t) for t in TOPICS]
    texts[0] = "Menu of today\n" * 20 + texts[0]
    assert clean(documents(texts))[0] == texts


@pytest.mark.parametrize(("carriers", "goes"), [(3, False), (4, True)])
def test_min_documents(documents, clean, carriers, goes):
    texts = [("Subscribe to our letter\n" if i < carriers else "") + body(t) for i, t in enumerate(TOPICS)]
    assert clean(documents(texts))[0] == ([body(t) for t in TOPICS] if goes else texts)


@pytest.mark.parametrize(("share", "goes"), [(0.5, True), (0.51, False)])
def test_min_share(documents, clean, share, goes):
    texts = [("Subscribe to our letter\n" if i < 6 else "") + body(t) for i, t in enumerate(TOPICS)]
    assert clean(documents(texts), min_share=share)[0] == ([body(t) for t in TOPICS] if goes else texts)


def test_a_small_host_is_left_alone(documents, clean):
    nine = site(TOPICS[:9])
    assert clean(documents([*nine, None, ""], url=addresses("small.example", 11)))[0] == [*nine, None, ""]
    assert clean(documents(nine), min_host_documents=9)[0] == [body(t) for t in TOPICS[:9]]


def test_code_stays(documents, clean):
    fenced = "```python\nimport numpy as np\nnp.random.seed(0)\n\nprint(np.pi)\n```"
    tildes = "~~~~\nlook inside\n~~~\nlook inside\n~~~~"
    indented = "    import numpy as np\n\tnp.random.seed(0)\n    print(np.pi)"
    texts = [f"{fenced}\n{tildes}\n{indented}\n{body(t)}\nimport numpy as np" for t in TOPICS]
    wanted = [f"{fenced}\n{tildes}\n{indented}\n{body(t)}" for t in TOPICS]
    assert clean(documents(texts), min_run=1)[0] == wanted


def test_lines_without_words_and_long_lines_stay(documents, clean):
    lines = ["}", "* * *", "12.5 | 33", "— 3 —", "x", "____", "٣٤", "word " * 41]
    texts = ["\n".join(lines) + "\n" + body(t) for t in TOPICS]
    assert clean(documents(texts), min_run=1)[0] == texts
    assert clean(documents(texts), min_run=1, max_line_characters=205)[0][0] == "\n".join(lines[:-1]) + "\n" + body(
        TOPICS[0]
    )


def test_length_is_in_characters(documents, clean):
    line = "本" * 200
    assert clean(documents([line + "\n" + body(t) for t in TOPICS]))[0] == [body(t) for t in TOPICS]
    texts = ["本" + line + "\n" + body(t) for t in TOPICS]
    assert clean(documents(texts))[0] == texts


def test_headings_inside_a_text_stay_and_blocks_go(documents, clean):
    def page(topic, block):
        own = [f"{topic} {word}" for word in ("title", "opens", "goes", "turns", "ends")]
        return "\n".join([*own[:2], *block, own[2], "See also", *own[3:]])

    share = ["Share this", "", "Tweet", "Send as mail"]
    texts = [page(t, share) for t in TOPICS]
    wanted = [page(t, [""]) for t in TOPICS]  # a gap between two lines stays one
    assert clean(documents(texts))[0] == wanted
    assert clean(documents(texts), min_run=4)[0] == texts
    assert clean(documents(texts), min_run=1)[0] == [text.replace("See also\n", "") for text in wanted]


def test_margin_lets_a_line_under_the_title_go(documents, clean):
    texts = [body(t).replace("\n", "\nPrev Up Next\n", 1) + "\nPrev Up Next\nNext: on owls" for t in TOPICS]
    last = [f"{body(t)}\nNext: on owls" for t in TOPICS]  # itself the same on all pages
    assert clean(documents(texts))[0] == [body(t) for t in TOPICS]
    for i, t in enumerate(TOPICS):
        texts[i], last[i] = (s.replace("on owls", f"{t} again") for s in (texts[i], last[i]))
    assert clean(documents(texts))[0] == last
    assert clean(documents(texts), margin=0)[0] == texts


def test_numbers_case_accents_and_punctuation_do_not_count(documents, clean):
    lines = ["12 Comments.", "3  comments", "【1045】 ＣＯＭＭＥＮＴＳ", "0 cómments!"]
    assert clean(documents([f"{lines[i % 4]}\n{body(t)}" for i, t in enumerate(TOPICS)]))[0] == list(map(body, TOPICS))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("A{t}\nMENU\nB{t}", "A{t}\nB{t}"),
        ("A{t}\n\nMENU\n\nB{t}", "A{t}\n\nB{t}"),
        ("A{t}\n\n\nMENU\n\nMENU\nB{t}", "A{t}\n\n\nB{t}"),
        ("MENU\n\n  A{t}\n\n\n\nB{t}  \n\nMENU\n\n", "  A{t}\n\n\n\nB{t}  "),
        ("\n\nA{t}\n \nMENU\n \nB{t}\n\n", "\n\nA{t}\n\nB{t}\n\n"),
        ("A{t}\r\nMENU\r\nB{t}\r\n", "A{t}\r\nB{t}\r\n"),
    ],
)
def test_blank_lines(documents, clean, before, after):
    docs = documents([before.format(t=t) for t in TOPICS])
    assert clean(docs, min_characters=1)[0] == [after.format(t=t) for t in TOPICS]


def test_a_document_of_repeated_lines_is_dropped_as_it_was(documents, run_barrier):
    docs = documents([*site(), "\n".join(HEADER), "", None])
    stage = DropRepeatedLines()
    (outcome,), _ = run_barrier(stage, [docs])
    assert outcome.dropped.to_pylist() == [None] * 12 + ["only_repeated_lines", None, None]
    assert outcome.detail.to_pylist() == [None] * 12 + ["characters_left=0", None, None]
    assert outcome.docs["text"].to_pylist()[12:] == ["\n".join(HEADER), "", None]
    assert stage.metrics.counters["documents_changed"] == 12


def test_the_cut_of_the_corpus_does_not_matter(documents, run_barrier):
    rng = np.random.default_rng(5)
    texts = site() + site() + [None, "", "\n".join(FOOTER)] + [body(t) for t in TOPICS]
    urls = addresses("a.example", 12) + [None] * 13 + addresses("b.example", 7) + addresses("a.example", 7)
    order = rng.permutation(len(texts))
    docs = documents([texts[i] for i in order], url=[urls[i] for i in order])

    def result(cuts, batch_rows, shuffle, partitions):
        stage = DropRepeatedLines(shuffle_partitions=partitions)
        bounds = [0, *cuts, docs.num_rows]
        shards = [docs.slice(a, b - a) for a, b in pairwise(bounds)]
        outcomes, _ = run_barrier(stage, shards, batch_rows, shuffle)
        both = [(o.docs["text"].to_pylist(), o.dropped.to_pylist()) for o in outcomes]
        return [list(chain(*part)) for part in zip(*both, strict=True)], stage.metrics.to_json()

    whole = result([], 1000, None, 64)
    assert whole[1]["counters"]["documents_changed"] == 24
    for cuts, rows, partitions in (([], 1, 64), ([3, 20], 7, 1), ([10, 11, 30], 2, 5)):
        assert result(cuts, rows, rng, partitions) == whole


# --- against the rule again, in plain Python


def normal(line):
    folded = "".join(c for c in unicodedata.normalize("NFD", line.lower()) if unicodedata.category(c) != "Mn")
    words = re.findall(r"[^\W_]+", folded)
    form = " ".join(re.sub(r"\d+", "0", word) for word in words)
    return form if len(re.findall(r"[^\W\d_]", form)) >= 2 else None


def lines_of(text, longest):
    """(line, normal form or None) of each line; None for code, too."""
    opened = None
    for line in text.split("\n"):
        mark = re.fullmatch(r" {0,3}(?:(`{3,})[^`]*|(~{3,}).*)", line)
        if opened is None and mark:
            opened = mark[1] or mark[2]
            yield line, None, "code"
        elif opened is not None:
            if re.fullmatch(rf" {{0,3}}{opened}{opened[0]}*\s*", line):
                opened = None
            yield line, None, "code"
        elif not line.strip():
            yield line, None, "blank"
        elif re.match(r" {0,3}\t|    ", line) or len(line) > longest:
            yield line, None, "own"
        else:
            yield line, normal(line), "own"


def oracle(texts, min_documents, min_run, margin, longest):
    parsed = [list(lines_of(text, longest)) for text in texts]
    counts = Counter(form for lines in parsed for form in {form for _, form, _ in lines} - {None})
    results = []
    for text, lines in zip(texts, parsed, strict=True):
        kinds = "".join(
            "R" if counts[form] >= min_documents and form else "b" if kind == "blank" else "o"
            for _, form, kind in lines
        )

        def spare(match, kinds=kinds):
            inside = min(kinds[: match.start()].count("o"), kinds[match.end() :].count("o")) > margin
            short = match.group().count("R") < min_run
            return match.group().replace("R", "o") if inside and short else match.group()

        kinds = re.sub("[Rb]+", spare, kinds)
        if "R" not in kinds:
            results.append(text)
            continue
        out = []
        for match in re.finditer("o|[Rb]+", kinds):
            if "R" not in match.group():
                out += [line for line, _, _ in lines[match.start() : match.end()]]
            elif match.start() > 0 and match.end() < len(kinds):
                out += [""] * max(map(len, match.group().split("R")))
        results.append("\n".join(out))
    return results


LINES = st.sampled_from(
    [
        "Menu",
        "menu!",
        "Page 3",
        "page 12.",
        "Más ayuda",
        "mas  AYUDA",
        "",
        " ",
        "}",
        "```",
        "~~~~",
        "```py",
        "    code x",
    ]
    + ["own " + w for w in ("one", "two", "three", "four", "five", "six", "seven")]
    + ["\tindented menu", "Новости", "x" * 30, "* * *"]
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(LINES, max_size=12).map("\n".join), min_size=1, max_size=8),
    st.integers(2, 4),
    st.integers(1, 3),
    st.integers(0, 2),
)
def test_matches_the_rule_in_plain_python(texts, min_documents, min_run, margin):
    import barrier_in_memory

    stage = DropRepeatedLines(
        min_documents=min_documents, min_run=min_run, margin=margin, min_share=0, min_host_documents=2,
        max_line_characters=29, min_characters=1, shuffle_partitions=2,
    )  # fmt: skip
    docs = pa.table({"text": pa.array(texts, pa.large_string()), "url": ["https://a.example/"] * len(texts)})
    docs = docs.append_column("source", pa.array(["s"] * len(texts)))
    (outcome,), _ = barrier_in_memory.run(stage, [docs], batch_rows=3)
    for got, wanted, before, reason in zip(
        outcome.docs["text"].to_pylist(),
        oracle(texts, min_documents, min_run, margin, 29),
        texts,
        outcome.dropped.to_pylist(),
        strict=True,
    ):
        assert (reason == "only_repeated_lines") == (wanted == "" and before != "")
        assert got == (before if reason else wanted)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet=st.sampled_from("ab \n\t`~é本3.}\r"), max_size=60), min_size=1, max_size=12))
def test_texts_without_repeated_lines_are_the_same_bytes(texts):
    import barrier_in_memory

    told = ["\n".join(f"{line}q{'z' * i}" for line in text.split("\n")) for i, text in enumerate(texts)]
    docs = pa.table({"text": pa.array(told, pa.large_string()), "url": pa.array([None] * len(texts), pa.string())})
    docs = docs.append_column("source", pa.array(["s"] * len(texts)))
    stage = DropRepeatedLines(min_documents=2, min_host_documents=2, min_share=0, min_run=1, min_characters=1)
    (outcome,), _ = barrier_in_memory.run(stage, [docs])
    assert outcome.docs["text"].to_pylist() == told
    assert "lines_removed" not in stage.metrics.counters


def test_paragraphs_seen_before_anywhere_go_and_the_first_stays(documents, run_barrier):
    rng = np.random.default_rng(3)
    pool = [
        f"{a} {b} of the {c}, as the keeper of the {c} told us one evening."
        for a, b, c in zip(TOPICS, TOPICS[1:], TOPICS[2:], strict=False)
    ]
    texts = ["\n".join(["Own line " + chr(97 + i) * 3, *rng.choice(pool, 3, replace=False)]) for i in range(20)]
    keys = {
        "scope": "corpus",
        "min_documents": 2,
        "min_share": 0,
        "min_host_documents": 2,
        "min_run": 1,
        "keep_first": True,
    }
    seen, expected = set(), []
    for text in texts:
        lines = text.split("\n")
        expected.append("\n".join(line for line in lines if line not in seen))
        seen.update(lines)
    assert sum(map(len, expected)) < 0.6 * sum(map(len, texts))
    table = documents(texts)
    for cuts, batch in [((), 100), ((1, 9, 10), 3)]:
        stage = DropRepeatedLines(min_characters=1, max_line_characters=1000, **keys)
        shards = [table.slice(a, b - a) for a, b in pairwise([0, *cuts, 20])]
        outcomes, _ = run_barrier(stage, shards, batch, np.random.default_rng(batch))
        assert pa.concat_tables([o.docs for o in outcomes])["text"].to_pylist() == expected
        assert all(o.dropped.null_count == len(o.dropped) for o in outcomes)
