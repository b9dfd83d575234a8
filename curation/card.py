"""The dataset card and the Croissant file of a run: what the data is, where it is from, under which licences.

`README.md` is a card as Hugging Face reads it: YAML metadata, then what a person wants to know. `croissant.json` says
the same to programs (MLCommons Croissant 1.0): files, columns, types. Both are made of run.json and of a bounded number
of files (`report/samples.py` says which), so they cost a second after any run, and `curation card DIR` makes them
again.

What is said of licences is what pages say of themselves (`license`, a link or a tag), counted. It is a hint to lawyers
and no statement that the data is under them; the licence of the whole is the owner's to name: `--license`.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer
import yaml
from rich.console import Console

from curation.documents import COLUMNS
from curation.progress import count
from curation.report.samples import HOST_ROWS, chosen_files, hosts, readable
from curation.stats import Stats, read_stats
from curation.storage import Storage

app = typer.Typer(add_completion=False)

#: Sizes of Hugging Face's `size_categories`, with the number of documents below which they apply.
_SIZES = {1e3: "n<1K", 1e4: "1K<n<10K", 1e5: "10K<n<100K", 1e6: "100K<n<1M", 1e7: "1M<n<10M", 1e8: "10M<n<100M"}
_SIZES |= {1e9: "100M<n<1B", 1e10: "1B<n<10B", 1e11: "10B<n<100B", 1e12: "100B<n<1T"}
#: Codes that name no language.
_NO_LANGUAGE = {"und", "zxx", "mul", ""}
#: Bytes of shards up to which the Croissant file names each with its sha256; above, it names the folder.
_HASHED_BYTES = 4 << 30
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
} | {
    name: f"cr:{name}"
    for name in (
        "citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet", "format",
        "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references",
        "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform",
    )
}  # fmt: skip


def _values(storage: Storage, stats: Stats, column: str) -> tuple[dict[str, int], int]:
    """value -> documents of the result, most first, and how many rows were read (a bounded number of files)."""
    found: dict[str, int] = {}
    rows = 0
    for name in chosen_files(stats.info.get("files", {}).get("documents", [])):
        with storage.open(name) as handle:
            parquet = pq.ParquetFile(handle)
            if column not in parquet.schema_arrow.names:
                return {}, 0
            for group in range(parquet.num_row_groups):
                if rows >= HOST_ROWS:
                    break
                values = parquet.read_row_group(group, columns=[column])[column]
                rows += len(values)
                for pair in pc.value_counts(values):
                    value = pair["values"].as_py()
                    found[value or ""] = found.get(value or "", 0) + pair["counts"].as_py()
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0]))), rows


def _languages(stats: Stats) -> dict[str, dict[str, int]]:
    """language -> {kept, tokens}, most documents first; those of which nothing was kept are left out."""
    tokens = stats.tokens_by("language")
    rows = stats.breakdown().get("language", {})
    kept = {code: {"kept": row["kept"], "tokens": tokens.get(code, 0)} for code, row in rows.items() if row["kept"]}
    return dict(sorted(kept.items(), key=lambda item: (-item[1]["kept"], item[0])))


def _metadata(stats: Stats, title: str, licence: str) -> dict[str, Any]:
    codes = sorted({code.partition("_")[0] for code in _languages(stats)} - _NO_LANGUAGE)
    size = next((name for limit, name in _SIZES.items() if stats.kept < limit), "n>1T")
    configs = [{"config_name": "default", "data_files": "documents/*.parquet", "default": True}]
    if stats.info.get("files", {}).get("tokens"):
        configs.append({"config_name": "tokens", "data_files": "tokens/*.parquet"})
    metadata: dict[str, Any] = {"pretty_name": title, "license": licence or "other"}
    if codes:
        metadata["language"] = codes
        metadata["multilinguality"] = "multilingual" if len(codes) > 1 else "monolingual"
    return metadata | {
        "task_categories": ["text-generation"],
        "size_categories": [size],
        "tags": ["croissant", "pretraining"],
        "configs": configs,
    }


def _table(columns: list[str], rows: list[list[str]]) -> str:
    def cell(text: str) -> str:
        return text.replace("|", "\\|").replace("\n", " ")

    marks = ["---" if i == 0 else "---:" for i in range(len(columns))]
    lines = ["| " + " | ".join(columns) + " |", "|" + "|".join(marks) + "|"]
    return "\n".join(lines + ["| " + " | ".join(map(cell, row)) + " |" for row in rows])


def _code(text: str) -> str:
    """A stranger's text in Markdown: as code, with nothing in it that could end it."""
    return f"`{text.replace('`', chr(39))}`"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else ""


def dataset_card(storage: Storage, stats: Stats, title: str = "", licence: str = "") -> str:
    """README.md: metadata and text."""
    info = stats.info
    title = title or info["pipeline"]
    files = info.get("files", {})
    documents = sum(f["bytes"] for f in files.get("documents", []))
    tokens = f", {count(stats.tokens())} tokens" if stats.tokens() else ""
    parts = [
        f"# {title}",
        info["config"]["settings"]["description"] or f"Made by the pipeline `{info['pipeline']}`.",
        f"{count(stats.kept)} documents{tokens}, {documents / 1e6:,.1f} MB of parquet, kept of {count(stats.records)} "
        "records. Every record that is not here is in `dropped/` or `quarantine/` of the run, with the stage and the "
        "reason; `report.html` shows how many, and samples.",
        '```python\nfrom datasets import load_dataset\n\ndata = load_dataset("PATH_OR_NAME", streaming=True)\n```',
    ]
    sources, read = _values(storage, stats, "source")
    inputs = [
        [_code(i["source"]), _code(", ".join(i["files"])[:200]), _share(sources.get(i["source"], 0), read)]
        for i in info["config"]["inputs"]
    ]
    parts += ["## Sources", _table(["source", "files", "of the documents"], inputs)]
    found, _ = hosts(storage, stats)
    if found:
        top = sorted(((h, n[0]) for h, n in found.items() if n[0]), key=lambda item: (-item[1], item[0]))[:10]
        parts += ["Hosts with most documents:", _table(["host", "documents"], [[_code(h), f"{n:,}"] for h, n in top])]
    licences, read = _values(storage, stats, "license")
    parts.append("## Licences")
    if licences:
        rows = [
            [_code(readable(k, 80)) if k else "none named", f"{n:,}", _share(n, read)]
            for k, n in list(licences.items())[:20]
        ]
        parts += [
            f"What pages say of themselves, in {read:,} of {stats.kept:,} documents: a hint, and no statement that a "
            "document is under that licence.",
            _table(["licence", "documents", "share"], rows),
        ]
    else:
        parts.append("Licences of documents were not recorded.")
    parts.append(f"The licence of the whole: {licence}." if licence else "The licence of the whole was not named.")
    languages = _languages(stats)
    if languages:
        rows = [
            [
                _code(readable(code, 40)) if code else "(none)",
                f"{n['kept']:,}",
                f"{n['tokens']:,}" if stats.tokens() else "",
            ]
            for code, n in list(languages.items())[:150]
        ]
        parts += ["## Languages", _table(["language", "documents", "tokens"], rows)]
    rows = []
    for account in stats.funnel:
        lost = sorted(account.dropped.items(), key=lambda item: (-item[1], item[0]))[:3]
        why = ", ".join(f"{_code(readable(reason, 60))} {n:,}" for reason, n in lost)
        rows.append([f"`{account.stage}`", f"{account.rows_in:,}", f"{account.kept:,}", why])
    parts += ["## How it was made", _table(["stage", "in", "kept", "most went for"], rows)]
    parts += [
        "Configuration:",
        "```json\n" + json.dumps(info["config"]["stages"], indent=1, ensure_ascii=False) + "\n```",
    ]
    versions = ", ".join(f"{k} {v}" for k, v in info["versions"].items())
    parts.append(f"Versions: {versions}. Fingerprint `{info['fingerprint']}`.")
    columns = _schema(storage, stats)
    if columns is not None:
        rows = [[f"`{f.name}`", f"`{f.type}`", COLUMNS[f.name].meaning if f.name in COLUMNS else ""] for f in columns]
        parts += ["## Columns", _table(["column", "type", "meaning"], rows)]
    parts += [
        "## Personal data, and what else to know",
        "The documents are text that others published. Addresses and numbers are replaced only where the pipeline "
        "above has a stage for it, and no such stage finds all. Rules and classifiers err more in languages with "
        "little text to learn from; the funnel by language in `report.html` shows where.",
    ]
    metadata = yaml.safe_dump(_metadata(stats, title, licence), sort_keys=False, allow_unicode=True)
    return f"---\n{metadata}---\n\n" + "\n\n".join(parts) + "\n"


def _schema(storage: Storage, stats: Stats) -> pa.Schema | None:
    files = stats.info.get("files", {}).get("documents", [])
    if not files:
        return None
    with storage.open(files[0]["name"]) as handle:
        return pq.read_schema(handle)


def _data_type(kind: pa.DataType) -> str | None:
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind):
        return "sc:Float"
    if pa.types.is_temporal(kind):
        return "sc:Date"
    return "sc:Text" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else None


def croissant(storage: Storage, stats: Stats, title: str = "", licence: str = "") -> dict[str, Any]:
    """The Croissant description: a file or a set of files, and a record set with the columns of plain types."""
    info = stats.info
    files = info.get("files", {}).get("documents", [])
    objects: list[dict[str, Any]] = []
    if sum(f["bytes"] for f in files) <= _HASHED_BYTES and len(files) <= 1000:
        for file in files:
            with storage.open(file["name"]) as handle:
                digest = hashlib.sha256()
                while block := handle.read(1 << 20):
                    digest.update(block)
            objects.append(
                {
                    "@type": "cr:FileObject",
                    "@id": file["name"],
                    "name": file["name"],
                    "contentUrl": file["name"],
                    "contentSize": f"{file['bytes']} B",
                    "encodingFormat": "application/x-parquet",
                    "sha256": digest.hexdigest(),
                }
            )
    files_of = {"@type": "cr:FileSet", "@id": "documents-parquet", "name": "documents-parquet",
                "encodingFormat": "application/x-parquet", "includes": "documents/*.parquet"}  # fmt: skip
    one = len(objects) == 1
    source = {"fileObject": {"@id": objects[0]["@id"]}} if one else {"fileSet": {"@id": "documents-parquet"}}
    if not one:
        objects = [*objects, files_of]
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"documents/{column.name}",
            "name": column.name,
            "description": COLUMNS[column.name].meaning if column.name in COLUMNS else column.name,
            "dataType": data_type,
            "source": source | {"extract": {"column": column.name}},
        }
        for column in _schema(storage, stats) or ()
        if (data_type := _data_type(column.type))
    ]
    languages = sorted({code.partition("_")[0] for code in _languages(stats)} - _NO_LANGUAGE)
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": title or info["pipeline"],
        "description": info["config"]["settings"]["description"] or f"Made by the pipeline {info['pipeline']}.",
        "url": storage.url,
        "license": licence or "unknown",
        "version": "1.0.0",
        "datePublished": time.strftime("%Y-%m-%d", time.gmtime(info.get("started", 0))),
        "citeAs": f"{title or info['pipeline']}, made with curation, fingerprint {info['fingerprint']}",
        **({"inLanguage": languages} if languages else {}),
        "distribution": objects,
        "recordSet": [{"@type": "cr:RecordSet", "@id": "documents", "name": "documents", "field": fields}],
    }


def write_card(run: str, title: str = "", licence: str = "") -> list[str]:
    """Write README.md and croissant.json into a run's folder; returns their names."""
    storage, stats = Storage(run), read_stats(run)
    pages = {
        "README.md": dataset_card(storage, stats, title, licence),
        "croissant.json": json.dumps(croissant(storage, stats, title, licence), indent=1, ensure_ascii=False),
    }
    for name, text in pages.items():
        with storage.write(name) as file:
            file.write(text.encode("utf-8", "replace"))
    return list(pages)


@app.command()
def card(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Folder or URL of a run.")],
    title: Annotated[str, typer.Option(help="Name of the data set (default: the pipeline's).")] = "",
    licence: Annotated[str, typer.Option("--license", help="Licence of the whole, by its SPDX identifier.")] = "",
) -> None:
    """Write the dataset card (README.md, for Hugging Face) and the Croissant file of a run, with a name and a
    licence."""
    for name in write_card(folder, title, licence.lower()):
        Console(highlight=False).print(f"{folder.rstrip('/')}/{name}", soft_wrap=True)
