"""Three corpora of one raw pool of pages, for `outcome.py`: raw text, datatrove's FineWeb recipe, ours.

    python benchmarks/outcome_corpora.py OUTPUT --gold FOLDER [--pool FOLDER ...] --datatrove-python dtvenv/bin/python

FOLDER of `--gold` holds `pages.parquet` (url, gold_text: cleaned by hand, lang) and `pages.warc.gz`, the same pages as
they came. Of three hosts in ten, chosen by a hash of their names, the hand-made text becomes OUTPUT/gold. The pool is
the pages of all other hosts and the archives (`*.warc.gz`) of the folders of `--pool`: no page is on both sides, nor a
page of the same site. What is made of OUTPUT/pool.warc.gz:

    raw        the text of every HTML page, whole, by resiliparse: menus, footers, copies and all
    datatrove  `datatrove_web.py`: their FineWeb example, all languages, PII replaced
    ours       `curation run web`

Each is a folder of documents that `outcome.py` reads. White space is written alike in all texts, one space or one line
break: whether a blank line parts paragraphs is a habit of an extractor and of who wrote the gold text, and with a small
model it outweighs all else. `--language CODE` (`eng_Latn`) then copies
every corpus and the gold text to OUTPUT/CODE, with the documents of one language only, as our `identify_language`
finds it in each text: recipes differ in the languages they lose, and text of one language judges that before all else.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Python puts this script's folder first on its path, where tokenize.py hides the library module of that name.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import argparse
import gzip
import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding

ROOT = Path(__file__).resolve().parent.parent
CORPORA = ("raw", "datatrove", "ours")
COLUMNS = ("id", "text", "lang")
#: Hosts whose pages are judged by, of ten.
GOLD_TENTHS = 3


def is_gold(url: str) -> bool:
    """Whether a page's host is one whose pages are judged by."""
    return xxhash.xxh3_64_intdigest(urlsplit(url).hostname or url) % 10 < GOLD_TENTHS


def alike(text: str) -> str:
    """The text with single spaces, and single line breaks."""
    return "\n".join(line for line in (" ".join(line.split()) for line in text.splitlines()) if line)


def write_alike(output: Path) -> None:
    """Write white space alike in the corpora and the gold text: one parquet file in the place of each one's files."""
    for name in (*CORPORA, "gold"):
        table = read(output / name)
        table = table.set_column(
            1, "text", pa.array([alike(text) for text in table["text"].to_pylist()], pa.large_string())
        )
        shutil.rmtree(output / name)
        (output / name).mkdir()
        pq.write_table(table, output / name / "part.parquet")


def responses(files: list[Path], parse_http: bool = True) -> Iterator[tuple[str, WarcRecord]]:
    """The archives' responses, with their URLs."""
    for file in files:
        with file.open("rb") as handle:
            for record in ArchiveIterator(handle, record_types=WarcRecordType.response, parse_http=parse_http):
                yield record.headers["WARC-Target-URI"] or "", record


def write_pool(archives: list[Path], pages: Path, to: Path) -> tuple[int, int]:
    """Write the pool: all records of the archives, and those of the pages whose host is not judged by. Counts both."""
    counts = [0, 0]
    with to.open("wb") as out:
        for i, files in enumerate((archives, [pages])):
            for url, record in responses(files, parse_http=False):
                if i == 0 or not is_gold(url):
                    record.write(member := io.BytesIO())
                    out.write(gzip.compress(member.getvalue(), 6))
                    counts[i] += 1
    return counts[0], counts[1]


def write_gold(pages: Path, folder: Path) -> int:
    """Write the hand-made text of the hosts judged by; number of documents."""
    table = pq.read_table(pages, columns=["url", "gold_text", "lang"]).rename_columns(["id", "text", "lang"])
    chosen = [
        is_gold(url) and bool(text) for url, text in zip(*(table[c].to_pylist() for c in ("id", "text")), strict=True)
    ]
    table = table.filter(pa.array(chosen))
    folder.mkdir(parents=True)
    pq.write_table(table, folder / "gold.parquet")
    return table.num_rows


def write_raw(pool: Path, folder: Path) -> None:
    """The text of every HTML page that was fetched, nothing left out."""
    rows: dict[str, list[str]] = {"id": [], "text": []}
    for url, record in responses([pool]):
        http = record.http_headers
        kind = (record.http_content_type or "").lower()
        if http is None or http.status_code != 200 or "html" not in kind:
            continue
        body = record.reader.read()
        text = extract_plain_text(bytes_to_str(body, detect_encoding(body)), main_content=False)
        rows["id"].append(url)
        rows["text"].append(text)
    folder.mkdir()
    pq.write_table(pa.table(rows), folder / "raw.parquet")


def write_datatrove(python: str, pool: Path, folder: Path) -> None:
    """datatrove's documents, as JSON lines; the files of its deduplication go."""
    from stages.tokenize.tokenizer_file import read_definition

    work = folder.with_name("datatrove-work")
    work.mkdir()
    folder.mkdir()
    tokenizer = work / "tokenizer.json"
    tokenizer.write_text(json.dumps(read_definition("qwen3")[0], ensure_ascii=False))
    options = {
        "tokenizer": str(tokenizer),
        "language_model": str(ROOT / "classifiers" / "language" / "lid.176.ftz"),
        "filter_no_terminal_punct": False,
        "warc": str(pool.resolve()),
        "work": str(work),
        "extract_only": False,
        "result": str(work / "result.json"),
        "texts": str(folder / "datatrove.jsonl"),
    }
    subprocess.run([python, "-P", str(ROOT / "benchmarks" / "datatrove_web.py"), json.dumps(options)], check=True)
    shutil.rmtree(work)


def write_ours(pool: Path, folder: Path) -> None:
    """The pipeline `web`, as it stands in pipelines.yaml."""
    command = [sys.executable, "-m", "curation", "run", "web", "--inline", "--config", str(ROOT / "pipelines.yaml")]
    run = folder.with_name("ours-run")
    subprocess.run([*command, "--input", str(pool.resolve()), "--output", str(run.resolve())], cwd=ROOT, check=True)
    shutil.copytree(run / "documents", folder)


def read(folder: Path) -> pa.Table:
    """A corpus as a table with `id` and `text`, and `lang` where there is one."""
    parts = []
    for file in sorted(folder.rglob("*.parquet")):
        parts.append(pq.read_table(file, columns=[c for c in COLUMNS if c in pq.read_schema(file).names]))
    for file in sorted(folder.rglob("*.jsonl")):
        rows = [json.loads(line) for line in file.open(encoding="utf-8")]
        parts.append(pa.table({key: [row[key] for row in rows] for key in ("id", "text")}))
    schema = pa.schema([(c, pa.large_string()) for c in COLUMNS if c in parts[0].column_names])
    return pa.concat_tables([part.cast(schema) for part in parts])


def write_language(output: Path, code: str) -> None:
    """Copies of all corpora with the documents of one language."""
    from stages.annotate.language import IdentifyLanguage

    stage = IdentifyLanguage()
    stage.setup()
    for name in (*CORPORA, "gold"):
        labelled = stage(read(output / name))
        folder = output / code / name
        folder.mkdir(parents=True)
        pq.write_table(
            labelled.filter(pc.equal(labelled["language"], code)).select(["id", "text"]), folder / "part.parquet"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--gold", type=Path, required=True)
    parser.add_argument("--pool", type=Path, action="append", default=[])
    parser.add_argument("--datatrove-python", default=sys.executable, help="interpreter that has datatrove's libraries")
    parser.add_argument("--language", action="append", default=[], help="also corpora of one language, by its code")
    options = parser.parse_args()
    output: Path = options.output
    archives = sorted(file for folder in options.pool for file in folder.glob("*.warc.gz"))
    if output.exists():
        sys.exit(f"error: {output}: is there already; give a new folder")
    n_gold = write_gold(options.gold / "pages.parquet", output / "gold")
    n_archive, n_pages = write_pool(archives, options.gold / "pages.warc.gz", output / "pool.warc.gz")
    print(f"gold: {n_gold} pages; pool: {n_archive:,} records of archives and {n_pages} pages", flush=True)
    write_raw(output / "pool.warc.gz", output / "raw")
    write_datatrove(options.datatrove_python, output / "pool.warc.gz", output / "datatrove")
    write_ours(output / "pool.warc.gz", output / "ours")
    write_alike(output)
    for code in options.language:
        write_language(output, code)
    for place in (output, *(output / code for code in options.language)):
        for name in (*CORPORA, "gold"):
            table = read(place / name)
            size = pc.sum(pc.binary_length(table["text"])).as_py() or 0
            print(f"{place / name}: {table.num_rows:,} documents, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
