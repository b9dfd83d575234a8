"""datatrove's web pipeline on one WARC file, timed block by block; run by `web_vs_datatrove.py`, in any interpreter.

The blocks and their order are those of datatrove's own FineWeb example, with all languages kept (the language is
labelled only) and without the files the example writes between its jobs and at the end, which spares it work: token
files are all it writes. Documents stream from block to block as in a real run, because consecutive rules share the
split words of a document through a small cache; so a block's CPU seconds are the time inside its generator minus the
time inside the one before it. The extractor works in a child process; its CPU seconds come from the kernel's account
of ended children.

Two things are changed so that it runs at all times: the extractor may take 60 s for a page, and for its own start,
instead of 1 s (its child needs longer than that to import its libraries on a busy machine, and then every page is
lost), and the language model is a file given here instead of a download.

This module imports datatrove and the standard library only.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

#: Seconds a page may take, and the extractor's child to start.
EXTRACTOR_TIMEOUT_S = 60


class Timed:
    """An iterable that counts what passes, and the CPU seconds spent in getting it."""

    def __init__(self, name: str, source: Iterable[Any]):
        self.name, self.source = name, source
        self.count, self.inclusive = 0, 0.0
        self.urls: list[str] = []

    def __iter__(self) -> Iterator[Any]:
        iterator = iter(self.source)
        while True:
            began = time.process_time()
            item = next(iterator, None)
            self.inclusive += time.process_time() - began
            if item is None:
                return
            self.count += 1
            self.urls.append(item.metadata["url"])
            yield item


class Steps:
    """What each block cost and let through."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def stream(self, blocks: list[tuple[str, Any]], data: Iterable[Any] | None) -> list[Any]:
        """Send documents through blocks that are chained as datatrove chains them; what comes out at the end."""
        timers: list[Timed] = []
        children = cpu_of_children()
        for name, block in blocks:
            began = time.process_time()
            data = Timed(name, block.run(data))
            data.inclusive = time.process_time() - began  # a block without output does its work here
            timers.append(data)
        out = list(data or [])
        for child in multiprocessing.active_children():
            child.join()
        children = cpu_of_children() - children
        before = 0.0
        for timer in timers:
            cpu = timer.inclusive - before + (children if timer.name == "extract" else 0.0)
            self.rows.append({"step": timer.name, "cpu_s": cpu, "out": timer.count, "urls": timer.urls})
            before = timer.inclusive
        return out

    def once(self, name: str, work: Any) -> None:
        """A step that gives no documents. A block's `run` may be a function or a generator."""
        began = time.process_time()
        for _ in work() or ():
            pass
        self.rows.append({"step": name, "cpu_s": time.process_time() - began, "out": None, "urls": []})


def cpu_of_children() -> float:
    """CPU seconds of the child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def reader_and_extractor(warc: Path) -> tuple[Any, Any]:
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.readers import WarcReader

    reader = WarcReader(str(warc.parent), glob_pattern=warc.name)
    return reader, Trafilatura(favour_precision=True, timeout=EXTRACTOR_TIMEOUT_S)


def extract_only(options: dict[str, Any]) -> dict[str, Any]:
    """Texts of a WARC's pages by URL."""
    reader, extractor = reader_and_extractor(Path(options["warc"]))
    return {"texts": {doc.metadata["url"]: doc.text for doc in extractor.run(reader.run())}}


def whole(options: dict[str, Any]) -> dict[str, Any]:
    """The whole pipeline: CPU seconds, number and URLs of documents per step, and tokens.

    options["texts"]: a file for the documents that are kept, as JSON lines."""
    from datatrove.pipeline.dedup import MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import (
        HashConfig,
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
    )
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
        LanguageFilter,
        URLFilter,
    )
    from datatrove.pipeline.formatters import PIIFormatter
    from datatrove.pipeline.tokens import DocumentTokenizer
    from fasttext.FastText import _FastText

    work = Path(options["work"])
    reader, extractor = reader_and_extractor(Path(options["warc"]))
    language = LanguageFilter(label_only=True)
    language.model._model = _FastText(options["language_model"])
    steps = Steps()
    docs = steps.stream(
        [
            ("read", reader),
            ("urls", URLFilter()),
            ("extract", extractor),
            ("language", language),
            ("gopher repetition", GopherRepetitionFilter()),
            ("gopher quality", GopherQualityFilter()),
            ("c4", C4QualityFilter(filter_no_terminal_punct=options["filter_no_terminal_punct"])),
            ("fineweb", FineWebQualityFilter()),
        ],
        None,
    )
    config = MinhashConfig(
        hash_config=HashConfig(hash_fc="sha1", precision=64), num_buckets=14, hashes_per_bucket=8, n_grams=5
    )
    signatures, buckets, removed = (str(work / name) for name in ("signatures", "buckets", "removed"))
    steps.once("minhash signatures", lambda: MinhashDedupSignature(signatures, config=config).run(docs))
    find = MinhashDedupBuckets(signatures, buckets, config=config)
    for bucket in range(config.num_buckets):
        steps.once("minhash buckets", lambda bucket=bucket: find.run(rank=bucket, world_size=config.num_buckets))
    steps.once("minhash clusters", lambda: MinhashDedupCluster(buckets, removed, config=config).run())
    tokenizer = DocumentTokenizer(
        str(work / "tokens"), options["tokenizer"], eos_token="<|endoftext|>", shuffle_documents=False
    )
    kept = steps.stream([("minhash filter", MinhashDedupFilter(removed)), ("pii", PIIFormatter())], docs)
    if options.get("texts"):
        with open(options["texts"], "w", encoding="utf-8") as file:
            file.writelines(json.dumps({"id": doc.metadata["url"], "text": doc.text}) + "\n" for doc in kept)
    steps.once("tokenize", lambda: tokenizer.run(iter(kept)))
    return {"steps": steps.rows, "tokens": int(tokenizer.stats["tokens"].total)}


def main() -> None:
    from datatrove.utils.logging import logger

    logger.remove()
    logger.add(sys.stderr, level="ERROR")
    options = json.loads(sys.argv[1])
    result = (extract_only if options["extract_only"] else whole)(options)
    Path(options["result"]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
