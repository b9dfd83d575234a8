"""replace_pii: datatrove's PIIFormatter as the oracle for e-mail and IPv4, and numbers that must not be touched."""

import re

import pyarrow as pa
import pytest
from datatrove.pipeline.formatters.pii import PIIFormatter
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.rewrite.phone_numbers import find_phone_numbers
from stages.rewrite.pii import ReplacePii


def replaced(text, **config):
    return ReplacePii(**config)(pa.table({"text": pa.array([text], pa.large_string())}))["text"][0].as_py()


EMAIL_AND_IP = [
    "Write to jane.doe+lists@example.co.uk, or <root@localhost.localdomain>.",
    "mailto:a@b.de?subject=hello x_y-z@sub.domain.museum; O'Hara@irish.example",
    "no address: @handle, a@b, user@, @example.com, foo @ bar.com, a@-b.com",
    "on an address: postmaster@[192.168.1.200], in a url: https://me@example.org/x",
    "several: a@x.org,b@x.org;c@x.org\nd.e.f@x.org. End.",
    "odd: .dot@x.org dot.@x.org two..dots@x.org {curly}@x.org a@x..org a@x-.org",
    "Server 216.239.38.115:123, not 10.0.0.1, 127.0.0.1, 192.168.1.1, 172.16.254.1, 169.254.169.254.",
    "log: 203.0.113.9 198.51.100.7 131.107.0.89 - - [GET /] from 91.198.174.192, via (208.80.154.224)",
    "leading zeros 091.198.174.192, too large 300.198.174.192, too short 91.198.174",
    "",
    "no candidates at all",
]


@pytest.mark.parametrize("text", EMAIL_AND_IP)
def test_emails_and_addresses_as_in_datatrove(text):
    peer = PIIFormatter(email_replacement="<EMAIL>", ip_replacement="<IP>")
    assert replaced(text, email="<EMAIL>", ip="<IP>", phone=None) == peer.format(text)


PARTS = [
    "a",
    "b.c",
    "x_1",
    "ab-cd",
    "@",
    "@",
    ".",
    "org",
    "co.uk",
    "-",
    " ",
    "\n",
    ",",
    "<",
    ">",
    "'",
    "[",
    "]",
    "é ",
    "8",
]
OCTETS = ["1", "10", "127", "192", "168", "200", "255", "256", "0", "91"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=14).map("".join))
def test_any_email_as_in_datatrove(text):
    theirs = PIIFormatter(email_replacement="<EMAIL>", remove_ips=False).format(text)
    if not re.search(r"@[^ \n]*\d|[^\x00-\x7f]", text):  # their numeric domains, and letters that Python's \b knows
        assert replaced(text, email="<EMAIL>", ip=None, phone=None) == theirs


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.sampled_from(OCTETS), min_size=4, max_size=4).map(".".join), max_size=5))
def test_any_ipv4_address_as_in_datatrove(addresses):
    # with a number of three digits in each, so that none reads as a section
    text = " | ".join(a for a in addresses if re.search(r"\d\d\d", a) and "256" not in a)
    theirs = PIIFormatter(ip_replacement="<IP>", remove_emails=False).format(text)
    assert replaced(text, ip="<IP>", email=None, phone=None) == theirs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("npm i lodash@4.17.21 react@18.2.0", None),  # datatrove takes these for e-mail addresses
        ("联系我们jane@example.org谢谢", "联系我们<E>谢谢"),  # and overlooks this one
        ("2.6.1.10. Formats, LibreOffice 7.4.1.2, see §11.2.3.4 and 1.3.6.1.4.1.311", None),
        ("91.198.174.256", None),  # datatrove takes 91.198.174.25 out of it
        ("version 4.0.100.25, v120.0.210.91, build 10.0.190.41", None),
        ("ping 8.8.8.8; ssh root@9.9.9.9; http://1.1.1.1/", "ping <I>; ssh root@<I>; http://<I>/"),
        ("2606:4700:4700::1111, [2a00:1450:4001:81b::200e]:443 2001:4860::/32", "<6>, [<6>]:443 <6>/32"),
        ("2001:db8::1 fe80::1 ::1 12:30:45 std::vector 00:1A:2B:3C:4D:5E face::add 2010:10:11", None),
    ],
)
def test_addresses_where_we_differ_on_purpose(text, expected):
    assert replaced(text, email="<E>", ip="<I>", ipv6="<6>", phone=None) == (text if expected is None else expected)


PHONES = [
    "+1 415 555 2671",
    "+14155552671",
    "+49 (0)40 890 85-433",
    "(+44) 20 7946 0958",
    "+33 1 42 68 53 00",
    "+91-98765-43210",
    "+48 601 234 567",
    "+86 138 1234 5678",
    "+351\u00a021\u00a0123\u00a04567",
    "(212) 555-0134",
    "212-555-0134",
    "1-800-555-0199",
    "262.204.0877",
    "(030) 901820",
    "(020) 7946 0958",
    "03-1234-5678",
    "010-1234-5678",
    "0123-45-6789",
]


@pytest.mark.parametrize("number", PHONES)
@pytest.mark.parametrize("frame", ["{}", "Call us at {}.", "({})", "Kontakt: {}, Mo-Fr 9-17", "\n{}\n", "电话{}。"])
def test_telephone_numbers(number, frame):
    text = frame.format(number)
    assert [text[a:b] for a, b in find_phone_numbers(text)] == [number]


@pytest.mark.parametrize(
    ("before", "number"),
    [
        ("Tel. ", "01 23 45 67 89"),
        ("Tél.: ", "01.23.45.67.89"),
        ("Telefon ", "089/123456-78"),
        ("Fax no. ", "020 7946 0958"),
        ("Phone: ", "555 123 4567"),
        ("тел. ", "8 (495) 123-45-67"),
        ("电话：", "010 62345678"),
        ("電話:", "0912 345 678"),
        ("전화 ", "1588-1234 5678"),
        ("Teléfono: ", "912 345 678"),
        ("τηλ. ", "210 1234567"),
        ("هاتف: ", "011 234 5678"),
        ("m: ", "0412 345 678"),
    ],
)
def test_numbers_after_a_word_for_telephone(before, number):
    text = f"Firma GmbH. {before}{number}\n"
    assert [text[a:b] for a, b in find_phone_numbers(text)] == [number]


NOT_PHONES = [
    "2024-01-31 12:30:45, 31.12.2024, 01-12-2024, 12/31/2024, 20240131123045",
    "Phone released 2021-09-24; telephone 12.11.2023; fax since 1987",
    "ISBN 978-3-16-148410-0, ISBN 0-306-40615-2, ISSN 2049-3630, EAN 4006381333931",
    "version 10.0.19041.1288, Python 3.11.7, kernel 5.15.0-91-generic, tel 1.2.3.4567.8",
    "pi = 3.14159265358979, e = 2.718281828459045, +1.4142135623, -73.9857, +40.748817",
    "0xDEADBEEF 550e8400-e29b-41d4-a716-446655440000 d41d8cd98f00b204e9800998ecf8427e",
    "x = a+1234567890; y = 1e+12345678; if (n > 4294967296) return +2147483647;",
    "int table[] = { 12, 345, 6789, 1024, 2048, 4096, 8192 };",
    "| 01 | 23 45 67 89 | 12 345 678 |\n| 415 555 2671 | 212 555 0134 |",
    "1 000 000 or 1.500.000 or 12,345,678 or +10 000 000 users, +500.000, $1,234,567.89, 0.123-4567",
    "arXiv:2101.12345v2, doi:10.1000/182.2021.123, RFC 2119-2026, IEC 61508-2010-04",
    "https://example.org/212-555-0134/ http://x.org/?id=+14155552671 a=212-555-0134",
    "SSN 123-45-6789, IBAN DE89 3704 0044 0532 0130 00, card 4111 1111 1111 1111",
    "@@ -123,4567 +123,4567 @@\n+1234567\n-7654321\n+100000000\n",
    "case no. 02-2023-0001, AB-212-555-0134, 212-555-0134-77, 1212-555-0134, 212-555-01345",
    "GMT+0200, UTC+05:30, +4% +12345%, C++11 2011-2014-2017",
    "192.168.100.200, 212.555.0134.1, (1999) 2000-2001, f(212) 555-0134 g(0123) 45",
    "hotel 2023-2024 season, telescope 12345678, mobile 4500000 users, the cell: 12345",
    "call: 1 000 000 times; t: 3600; p: 0.05; m: 12.5",
    "+999 12 345 6789",  # no such country code
    "１２３-４５６-７８９０",
]


@pytest.mark.parametrize("text", NOT_PHONES)
def test_other_numbers_stay(text):
    assert [text[a:b] for a, b in find_phone_numbers(text)] == []


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*PHONES, *NOT_PHONES, "tel ", "+", "(", "\n", "é", " ", "0", ".", "-"]), max_size=6))
def test_no_text_with_a_number_is_skipped_by_the_first_pass(parts):
    text = "".join(parts)
    count = len(find_phone_numbers(text))
    stage = ReplacePii(phone="<TEL>", email=None, ip=None)
    result = stage(pa.table({"text": pa.array([text], pa.large_string())}))
    assert result["pii"].to_pylist() == [count]
    assert result["text"][0].as_py().count("<TEL>") == count


TEXTS = [
    "Mail jane@example.org or john@example.org from 91.198.174.192, +1 415 555 2671",
    None,
    "",
    "Nothing to see in 2024.",
    "tel 030 1234567",
]


def test_replacements_are_counted(documents):
    stage = ReplacePii()
    docs = documents(TEXTS)
    result = stage(docs)
    assert result["text"].to_pylist() == [
        "Mail email@example.com or email@example.com from 192.0.2.1, +1 202-555-0100",
        None,
        "",
        "Nothing to see in 2024.",
        "tel +1 202-555-0100",
    ]
    assert result["pii"].to_pylist() == [4, 0, 0, 0, 1]
    assert stage.metrics.counters == {"email": 2, "ip": 1, "phone": 2, "documents_changed": 2}
    assert result.drop_columns(["text", "pii"]).equals(docs.drop_columns(["text"]))
    assert {name: result.schema.field(name).type for name in stage.adds()} == stage.adds()
    again = ReplacePii()(result)
    assert again["text"].equals(result["text"]), "the placeholders are left as they are"


def test_kinds_can_be_left_out_and_placeholders_chosen(documents):
    assert replaced(TEXTS[0], email=None, ip=None, phone=None) == TEXTS[0]
    assert replaced("a@x.org", email=r"\1\\<@>") == r"\1\\<@>"
    assert replaced("a@x.org, 91.198.174.192", email="", ip="") == ", "


def test_same_result_for_any_batch_split(documents):
    docs = documents([*TEXTS, *EMAIL_AND_IP, *PHONES, *NOT_PHONES])
    whole = ReplacePii()(docs)
    stage = ReplacePii()
    parts = pa.concat_tables([stage(docs.slice(i, 4)) for i in range(0, docs.num_rows, 4)])
    assert parts["text"].to_pylist() == whole["text"].to_pylist() and parts["pii"].equals(whole["pii"])
    assert stage(docs.slice(0, 0)).num_rows == 0


def test_hostile_text_takes_linear_time(documents):
    """Patterns that backtrack need hours for these; the test ends at all."""
    bad = [
        "a." * 300_000 + "@",
        "a/" * 300_000 + "@",
        "1 " * 300_000,
        "+1" + "(" * 300_000,
        "tel" * 100_000,
        "1.1" * 200_000,
    ]
    assert ReplacePii()(documents(bad))["pii"].to_pylist() == [0] * len(bad)
