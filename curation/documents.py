"""The document schema: the one list of column names, with Arrow type, meaning and unit.

A document is one row of an Arrow table. Every document carries the core columns from the reader to the last
shard; stages add typed columns and never rename another's. Names live here, in one place, so that two stages
cannot mean different things by the same word; a stage outside this project may still add columns that are not
listed, as long as it declares them.

Trade-off: a flat list of columns instead of a nested `metadata` map. A flat column costs nothing when it is
absent, compresses by dictionary, and can be filtered on by every parquet reader; a map can do none of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import xxhash


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type, what it means (with the unit), and whether it is kept out of shards.

    `transient` columns (raw HTML, PDF bytes) feed a later stage of the same segment and are never written. `into_text`
    columns are lists of offsets into `text`; the engine moves them along when a stage rewrites the text.
    """

    type: pa.DataType
    meaning: str
    transient: bool = False
    into_text: bool = False


CORE: dict[str, Column] = {
    "id": Column(pa.string(), "unique and stable: 32 hex digits from source, file and record position"),
    "text": Column(pa.large_string(), "the document's text; null until a stage has extracted it"),
    "url": Column(pa.string(), "address the document was fetched from; null if it has none"),
    "source": Column(pa.string(), "name of the input the document came from, as the pipeline calls it"),
    "file": Column(pa.string(), "input file, relative to the folder the input pattern starts from"),
    "position": Column(pa.int64(), "where the record starts in `file`: byte offset, or row number for tables"),
}

COLUMNS: dict[str, Column] = CORE | {
    # stages/read
    "html": Column(pa.large_string(), "page source, decoded", transient=True),
    "content": Column(pa.large_binary(), "record payload that is not text (a PDF), undecoded", transient=True),
    "mime": Column(pa.string(), "media type the server declared, lower case, without parameters"),
    "charset": Column(pa.string(), "encoding the payload was decoded with"),
    "member": Column(pa.string(), "name of the document inside `file`, where that is an archive; null elsewhere"),
    "truncated": Column(pa.string(), "why the payload is incomplete; null if it is whole"),
    "date": Column(pa.timestamp("s", tz="UTC"), "when the document was fetched"),
    "repository": Column(pa.string(), "package or repository that a source file belongs to"),
    "path": Column(pa.string(), "path of a source file in its repository"),
    "code_language": Column(
        pa.string(), "programming language, one of stages/read/code_languages.tsv; null if it is none of them"
    ),
    # stages/extract
    "title": Column(pa.string(), "title of the page; null if it has none"),
    "extractor": Column(pa.string(), "what chose the main text: `resiliparse`, `lines` or `trafilatura`"),
    "published": Column(pa.date32(), "day the page was published, as it says; of a month or year alone, the first day"),
    "published_source": Column(
        pa.string(), "where the page says so: `json-ld`, `opengraph`, `meta`, `microdata`, `time` or `url`"
    ),
    "modified": Column(pa.date32(), "day the page was last changed, as it says"),
    "license": Column(
        pa.string(),
        "licence the page points to, or that covers the source file, by its SPDX identifier in lower case; a hint",
    ),
    "license_source": Column(
        pa.string(),
        "where that is said: `rel`, `json-ld`, `meta`, or `link` (may be an image's); `header`, `metadata`, `file`",
    ),
    "html_language": Column(pa.string(), "language tag that <html> declares, lower case (`en-us`); often wrong"),
    "site_name": Column(pa.string(), "name of the site, as the page says"),
    "n_pages": Column(pa.int32(), "number of pages"),
    "page_offsets": Column(pa.list_(pa.int32()), "where each page starts in `text`, in characters", into_text=True),
    "page_status": Column(
        pa.list_(pa.string()),
        "how each page was read: `text`, `hidden` (the text layer under a scan), `vlm`, `ocr`, `empty` or `failed`",
    ),
    "unrefined_text": Column(pa.large_string(), "the text before a model refined it; null where nothing was changed"),
    "refined_by": Column(pa.string(), "model that refined the text; null where nothing was changed"),
    "refined_share": Column(pa.float32(), "share of the characters that were refined, 0 to 1"),
    "page_reason": Column(pa.list_(pa.string()), "why each page was read that way, or not at all; null for plain text"),
    # stages/annotate
    "language": Column(
        pa.string(),
        "language and script as in FLORES-200 (`fra_Latn`), the code of its group where the variety is unclear "
        "(`ara_Arab`), `und` if unknown, `zxx` if it is no language",
    ),
    "language_score": Column(pa.float32(), "probability of `language_group`, 0 to 1"),
    "language_group": Column(
        pa.string(),
        "the language, or the group of varieties it belongs to (`ara_Arab`, `fas_Arab`, `hbs_Latn`, `zhx_Hant`)",
    ),
    "language_margin": Column(pa.float32(), "share of the group's probability that its likeliest variety has, 0 to 1"),
    "language_share": Column(pa.float32(), "share of the letters read that are in `language_group`; mixed below 1"),
    "languages": Column(
        pa.list_(pa.struct([("language", pa.string()), ("share", pa.float32())])),
        "groups that at least 10 % of the letters read are in, most first",
    ),
    "script": Column(pa.string(), "ISO 15924 code of the script most letters of `text` belong to"),
    "sampled": Column(pa.bool_(), "whether the document is in the sample to be labelled"),
    "educational_value": Column(pa.float32(), "how much can be learnt from the document, 0 to 5"),
    "information_density": Column(pa.float32(), "how much the document says for its length, 0 to 5"),
    "writing_quality": Column(pa.float32(), "how well the document is written, 0 to 5"),
    "field": Column(pa.string(), "broad field (`stem`, `humanities` ...), one of classifiers/quality/dimensions.py"),
    "domain": Column(pa.string(), "subject (`mathematics`, `law` ...), likewise"),
    "document_type": Column(pa.string(), "kind of document (`textbook`, `news` ...), likewise"),
    "safety": Column(pa.string(), "`safe`, or what makes the document unsafe to learn from, likewise"),
    "listed_words": Column(pa.int32(), "places where a term of a word list stands; null if its language has no list"),
    "listed_share": Column(pa.float32(), "`listed_words` as a share of all words, 0 to 1"),
    "recall_round": Column(pa.int32(), "last round of recall that the document passed; 0 for none"),
    "recalled_by": Column(pa.string(), "what found it to be of the domain: `classifier` or `host`; null if nothing"),
    "labelled_by": Column(pa.string(), "model that gave these labels; `student@...` for one trained on a teacher's"),
    "label_uncertainty": Column(pa.float32(), "how unsure the student is of its labels, 0 (sure) to 1"),
    # stages/rewrite
    "pii": Column(pa.int32(), "number of e-mail, IP addresses and telephone numbers that were replaced in `text`"),
    "rewritten_from": Column(pa.string(), "id of the document this one was rewritten from; null for originals"),
    "rewrite_style": Column(pa.string(), "how it was rewritten (`wikipedia`, `notes` ...); null for originals"),
    "rewritten_by": Column(pa.string(), "model that rewrote it; null for originals"),
    # stages/synthesize
    "synthetic_kind": Column(pa.string(), "what a model made of another document (`math_problem` ...); null: no model"),
    "synthesized_from": Column(pa.string(), "id of the document it was made from"),
    "synthesized_by": Column(pa.string(), "model that wrote it"),
    "synthetic_topic": Column(pa.string(), "topic it was asked to be about; null if its kind has none"),
    "synthetic_persona": Column(pa.string(), "whom it was asked to be written for"),
    "synthetic_item": Column(pa.string(), "JSON: its parts, and what was gathered to verify it"),
    "secrets": Column(pa.int32(), "number of keys, tokens and passwords that were replaced in `text`"),
    # from outside, for stages/dedup
    "embedding": Column(pa.list_(pa.float32()), "vector that an embedding model made of `text`; null if it has none"),
    # stages/dedup
    "duplicates": Column(pa.int32(), "size of the duplicate cluster this document was kept from; 1 if alone"),
    # stages/tokenize
    "input_ids": Column(pa.list_(pa.field("element", pa.int32(), nullable=False)), "token ids, no end-of-document"),
    "n_tokens": Column(pa.int32(), "number of token ids"),
    "token_format": Column(
        pa.string(),
        "how `input_ids` were put together: `plain`, `psm`, `spm` (filling in the middle), `repository` ...",
    ),
    "file_paths": Column(pa.list_(pa.string()), "paths of the files that `text` consists of; null if it is one file"),
    "file_ends": Column(
        pa.list_(pa.int32()), "where each of these files ends in `text`, in characters", into_text=True
    ),
    "n_bytes": Column(pa.int64(), "UTF-8 bytes of the text that was tokenized"),
    # stages/mix
    "token_file": Column(pa.string(), "token shard that holds the document's ids, in the row that `position` says"),
    "mixture": Column(
        pa.list_(
            pa.struct(
                [
                    ("stage", pa.string()),
                    ("sequence_length", pa.int32()),
                    ("copies", pa.int32()),
                    ("stage_documents", pa.int64()),
                    ("stage_tokens", pa.int64()),
                ]
            )
        ),
        "stages of training the document is drawn for: their rows' length, how many times it goes in, and how many "
        "documents and tokens (copies and ends of documents counted) the whole stage has",
    ),
}


def column_type(name: str) -> pa.DataType:
    """Arrow type of a listed column. KeyError if it is not listed."""
    return COLUMNS[name].type


def is_transient(name: str) -> bool:
    """Whether a column must not be written to shards."""
    return name in COLUMNS and COLUMNS[name].transient


def document_id(source: str, file: str, position: int | str) -> str:
    """The id of the record at `position` of `file`: xxh128 of the three, 32 hex digits.

    It depends on nothing but where the record lies, so it is the same on every machine and in every run.
    """
    return xxhash.xxh3_128_hexdigest(f"{source}\0{file}\0{position}".encode("utf-8", "surrogatepass"))


def part_id(document: str, part: str) -> str:
    """The id of a document that a stage makes of the document with this id; `part` tells it from others of the same.

    Like `document_id` it depends on nothing else, so it is the same in every run.
    """
    return xxhash.xxh3_128_hexdigest(f"{document}\0{part}".encode("utf-8", "surrogatepass"))


def empty(columns: dict[str, pa.DataType]) -> pa.Table:
    """A table of no documents with the given columns."""
    return pa.schema(list(columns.items())).empty_table()
