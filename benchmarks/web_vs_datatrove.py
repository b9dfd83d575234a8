"""The whole web pipeline beside datatrove's, archive to tokens, on one core, as a ratio of CPU seconds.

    python benchmarks/web_vs_datatrove.py [FOLDER] --datatrove-python dtvenv/bin/python

datatrove needs libraries that this project does not. A virtual environment that has them is made by:

    python3.11 -m venv dtvenv
    dtvenv/bin/pip install "datatrove==0.10.1" "trafilatura<1.12" lxml_html_clean spacy nltk warcio faust-cchardet \\
        python-magic fasttext-numpy2-wheel fasteners tldextract pyahocorasick tokenizers orjson regex "xxhash<4"

(and the system's libmagic). FOLDER holds WARC files (`*.warc.gz`), read one after another as one file; without it
the sample archive in `examples/` is taken. Ours is `curation run web --inline`; theirs is `datatrove_web.py`, where
its blocks and settings are named. Each runs in a process of its own, one at a time, on the same file; what counts is
the CPU time, user and system, of the process and its children, as the kernel gives it when they end.

Start-up is told from document work by running each side twice, on the first 50 records and on all. The difference
belongs to the records in between; what the short run took beyond its records' share is start-up: imports, block
lists, models, compiled kernels from their cache. A run that nobody counts comes first and fills all caches on disk.
Of several runs the one of least CPU time counts. How much start-up varies between runs, relative to our document work,
is printed as the ratio's uncertainty: with the sample archive it is large, with a thousand records and more small.
A crawl has so many documents that start-up does not matter, so the ratio is that of document work; the ratio with
start-up, for this input, is printed before it.

What each side has got for its time is printed too: documents extracted, kept, and tokens; if the folder has a
`*.truth.jsonl` (url, kind, src: the page a copy was made of), what became of each kind of record, and how many of the
planted copies that reached deduplication were found; and with `--gold FOLDER`, holding a `pages.warc.gz` and a
`pages.parquet` (url, gold_text), the mean token F1 of both extractions. Not the same work in three places: ours also
repairs Unicode, removes exact and URL duplicates, verifies near-duplicates, and writes documents, dropped documents
and a report, where theirs writes tokens only; ours applies FineWeb-2's rules of each language, theirs the English
ones to all; ours leaves pages that are not English alone in `c4_quality`, as FineWeb-2 does.

Last lines: `ratio web_vs_datatrove_with_start_up N` and `ratio web_vs_datatrove N`.
"""

import sys
from pathlib import Path

# A file beside this one is called `tokenize`, and so is a module of Python: take this folder off the path.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import argparse
import collections
import json
import os
import re
import statistics
import subprocess
import tempfile
import zlib
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
THREADS = ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "FASTOKENS_BPE_THREADS", "ARROW_NUM_THREADS")
#: Records of the short run.
FEW = 50
#: Runs of each side in a round: ours are short beside their own start-up, so that one alone would be all noise.
RUNS = (4, 1)
#: Row of the table -> our stages, datatrove's steps.
ROWS = {
    "read": (["read_warc"], ["read"]),
    "urls": (["filter_urls"], ["urls"]),
    "extract": (["extract_html"], ["extract"]),
    "unicode": (["fix_unicode"], []),
    "language": (["identify_language"], ["language"]),
    "gopher repetition": (["gopher_repetition"], ["gopher repetition"]),
    "gopher quality": (["gopher_quality"], ["gopher quality"]),
    "c4": (["c4_quality"], ["c4"]),
    "fineweb": (["fineweb_quality"], ["fineweb"]),
    "deduplicate": (
        ["dedup_urls", "exact_dedup", "minhash_dedup"],
        ["minhash signatures", "minhash buckets", "minhash clusters", "minhash filter"],
    ),
    "pii": (["replace_pii"], ["pii"]),
    "tokenize": (["tokenize"], ["tokenize"]),
}
DEDUP = set(ROWS["deduplicate"][0])
# A token is a word, or one character of a script that puts no spaces between words.
TOKEN = re.compile(r"[\u0e00-\u0e7f\u1000-\u109f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]|\w+")


@dataclass
class Cost:
    """What a process took: CPU seconds with its children, resident megabytes at its peak, CPU seconds by step."""

    cpu_s: float
    rss_mb: float
    steps: dict[str, float]


@dataclass
class Text:
    """What a side made of the archive, as URLs; documents after each step, by name of the step."""

    extracted: set[str]
    judged: set[str]  # reached deduplication
    kept: set[str]
    tokens: int
    out: dict[str, int]


def run(command: list[str], log: Path) -> tuple[float, float]:
    """CPU seconds and peak megabytes of a command and its children. The benchmark ends if it fails."""
    env = os.environ | dict.fromkeys(THREADS, "1") | {"TOKENIZERS_PARALLELISM": "false"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{log.read_text(errors='replace')[-3000:]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def cut(files: list[Path], to: Path, records: int | None) -> list[str]:
    """Write the archives' first `records` responses (and what lies between) as one file; the responses' URLs."""
    urls: list[str] = []
    with to.open("wb") as out:
        for file in files:
            rest = file.read_bytes()
            while rest and (records is None or len(urls) < records):
                member = zlib.decompressobj(31)
                head = member.decompress(rest).split(b"\r\n\r\n", 1)[0]
                size = len(rest) - len(member.unused_data)
                out.write(rest[:size])
                rest = rest[size:]
                if b"\r\nWARC-Type: response" in head:
                    urls += [line.split(b": ", 1)[1].decode() for line in head.split(b"\r\n") if b"Target-URI" in line]
    return urls


@dataclass
class Ours:
    """`curation run web` in one process."""

    config: Path
    work: Path

    def run(self, warc: Path, pipeline: str = "web", config: Path | None = None) -> tuple[Cost, Path]:
        folder = Path(tempfile.mkdtemp(dir=self.work))
        command = [
            sys.executable,
            "-m",
            "curation",
            "run",
            pipeline,
            "--inline",
            "--config",
            str(config or self.config),
        ]
        cpu_s, rss_mb = run([*command, "--input", str(warc), "--output", str(folder)], self.work / "ours.log")
        steps: dict[str, float] = collections.defaultdict(float)
        for stage in json.loads((folder / "run.json").read_text())["stages"]:
            steps[stage["stage"].split(":")[0]] += stage["cpu_s"]
        return Cost(cpu_s, rss_mb, steps), folder

    @staticmethod
    def text(folder: Path) -> Text:
        info = json.loads((folder / "run.json").read_text())
        out = {stage["stage"]: stage["kept"] for stage in info["stages"]}
        order = [name for stage in info["config"]["stages"] for name in stage]
        kept = set(pq.read_table(folder / "documents", columns=["url"])["url"].to_pylist())
        gone = pq.read_table(folder / "dropped", columns=["url", "stage"]).to_pylist()
        extract, first = order.index("extract_html"), min(order.index(name) for name in DEDUP)
        place = {row["url"]: order.index(row["stage"]) for row in gone}
        lengths = pq.read_table(folder / "tokens", columns=["n_tokens"])["n_tokens"].to_numpy()
        return Text(
            extracted=kept | {url for url, at in place.items() if at > extract},
            judged=kept | {url for url, at in place.items() if at >= first},
            kept=kept,
            tokens=int(lengths.sum()),
            out=out,
        )


@dataclass
class Datatrove:
    """datatrove's pipeline in one process."""

    python: str
    work: Path
    options: dict[str, Any]

    def run(self, warc: Path, extract_only: bool = False) -> tuple[Cost, dict[str, Any]]:
        folder = Path(tempfile.mkdtemp(dir=self.work))
        options = self.options | {"warc": str(warc), "work": str(folder), "extract_only": extract_only}
        options["result"] = str(folder / "result.json")
        script = str(ROOT / "benchmarks" / "datatrove_web.py")
        cpu_s, rss_mb = run([self.python, "-P", script, json.dumps(options)], self.work / "datatrove.log")
        result = json.loads((folder / "result.json").read_text())
        steps: dict[str, float] = collections.defaultdict(float)
        for step in result.get("steps", []):
            steps[step["step"]] += step["cpu_s"]
        return Cost(cpu_s, rss_mb, steps), result

    @staticmethod
    def text(result: dict[str, Any]) -> Text:
        urls = {step["step"]: set(step["urls"]) for step in result["steps"]}
        out = {step["step"]: step["out"] for step in result["steps"]}
        return Text(urls["extract"], urls["fineweb"], urls["pii"], result["tokens"], out)


def least(costs: list[Cost], steps: list[str] | None = None) -> float:
    """The least CPU seconds of several runs, whole or of these steps: what else a machine does only adds to them."""
    return min(cost.cpu_s if steps is None else sum(cost.steps.get(n, 0.0) for n in steps) for cost in costs)


def print_steps(name: str, few: list[Cost], all_: list[Cost], columns: int, records: int, text: Text) -> None:
    """CPU milliseconds per record of each step of one side (least of the runs), and documents after it."""
    print(f"\n{name}: CPU ms per record, start-up apart; documents after the step")
    total = 0.0
    for row, names in ROWS.items():
        cost = least(all_, names[columns]) - least(few, names[columns])
        after = [text.out[n] for n in names[columns] if text.out.get(n) is not None]
        if names[columns]:
            total += cost
            print(f"  {row:18} {1000 * cost / (records - FEW):8.3f} {after[-1] if after else '':>6}")
    whole = least(all_) - least(few)
    print(f"  {'files, engine':18} {1000 * (whole - total) / (records - FEW):8.3f}")


def print_fates(truth: list[dict[str, Any]], ours: Text, theirs: Text) -> None:
    """What became of each kind of record, and the planted copies."""
    print(
        f"\n{'kind':12} {'records':>8} | {'datatrove extracted':>19} {'kept':>6} | {'ours extracted':>14} {'kept':>6}"
    )
    kinds: dict[str, set[str]] = collections.defaultdict(set)
    pages = {entry["src"]: entry["url"] for entry in truth if entry["kind"] == "page"}
    for entry in truth:
        kinds[entry["kind"]].add(entry["url"])
    for kind, urls in kinds.items():
        print(
            f"{kind:12} {len(urls):8} | {len(urls & theirs.extracted):19} {len(urls & theirs.kept):6} | "
            f"{len(urls & ours.extracted):14} {len(urls & ours.kept):6}"
        )
    for name, side in (("datatrove", theirs), ("ours", ours)):
        for kind in ("exact_dup", "near_dup"):
            pairs = [{e["url"], pages[e["src"]]} for e in truth if e["kind"] == kind and e["src"] in pages]
            pairs = [pair for pair in pairs if pair <= side.judged]
            found = sum(not pair <= side.kept for pair in pairs)
            print(f"{name}: {kind}: {len(pairs)} copies reached deduplication beside their page, {found} were found")


def f1(text: str, gold: str) -> tuple[float, float, float]:
    """Precision, recall and F1 of the tokens of a text, as multisets."""
    got, want = (collections.Counter(TOKEN.findall(t.lower())) for t in (text, gold))
    if not got or not want:
        return (float(got == want),) * 3
    both = (got & want).total()
    precision, recall = both / got.total(), both / want.total()
    return precision, recall, 2 * precision * recall / (precision + recall) if both else 0.0


def print_gold(folder: Path, ours: Ours, theirs: Datatrove, stages: list[dict[str, Any]]) -> None:
    """Both extractions against human gold text. A page that a side gives no text for counts as 0."""
    gold: dict[str, str] = {}
    for row in pq.read_table(folder / "pages.parquet", columns=["url", "gold_text"]).to_pylist():
        gold.setdefault(row["url"], row["gold_text"] or "")
    warc = folder / "pages.warc.gz"
    config = ours.work / "gold.yaml"  # JSON is YAML
    chosen = [stage for stage in stages if {"read_warc", "extract_html"} & set(stage)]
    pipeline = {"input": str(warc), "output": str(ours.work / "gold"), "stages": chosen}
    config.write_text(json.dumps({"pipelines": {"gold": pipeline}}))
    _, run_folder = ours.run(warc, "gold", config)
    docs = pq.read_table(run_folder / "documents", columns=["url", "text"])
    mine = dict(zip(docs["url"].to_pylist(), docs["text"].to_pylist(), strict=True))
    _, result = theirs.run(warc, extract_only=True)
    print(f"\n{len(gold)} pages with gold text: token precision, recall, F1; pages without text")
    for name, texts in (("datatrove", result["texts"]), ("ours", mine)):
        scores = [f1(texts.get(url, ""), text) for url, text in gold.items()]
        p, r, f = (statistics.fmean(column) for column in zip(*scores, strict=True))
        print(f"  {name:10} {p:.3f} {r:.3f} {f:.3f}; {sum(not texts.get(url) for url in gold)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", type=Path, nargs="?", default=ROOT / "examples")
    parser.add_argument("--records", type=int, help=f"responses to take from the archives, at least {4 * FEW}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gold", type=Path, help="folder with pages.warc.gz and pages.parquet")
    parser.add_argument("--datatrove-python", default=sys.executable, help="interpreter that has datatrove's libraries")
    parser.add_argument("--config", type=Path, default=ROOT / "pipelines.yaml", help="file that has the pipeline `web`")
    options = parser.parse_args()
    files = sorted(options.folder.glob("*.warc.gz"))
    if not files:
        raise SystemExit(f"no *.warc.gz in {options.folder}")

    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        short, long = work / "short.warc.gz", work / "long.warc.gz"
        cut(files, short, FEW)
        urls = cut(files, long, options.records)
        if len(urls) < 4 * FEW:
            raise SystemExit(f"{len(urls)} responses are too few to tell start-up from document work")
        measure(options, work, short, long, urls)


def measure(options: argparse.Namespace, work: Path, short: Path, long: Path, urls: list[str]) -> None:
    """Run both sides and print what they cost and made."""
    from stages.tokenize.tokenizer_file import read_definition

    ours = Ours(options.config.resolve(), work)
    _, folder = ours.run(short)  # fills the caches
    stages = json.loads((folder / "run.json").read_text())["config"]["stages"]
    c4 = next(stage["c4_quality"] for stage in stages if "c4_quality" in stage)
    tokenizer = work / "tokenizer.json"
    tokenizer.write_text(json.dumps(read_definition("qwen3")[0], ensure_ascii=False))
    theirs = Datatrove(
        options.datatrove_python,
        work,
        {
            "tokenizer": str(tokenizer),
            "language_model": str(ROOT / "classifiers" / "language" / "lid.176.ftz"),
            "filter_no_terminal_punct": c4["filter_no_terminal_punct"],
        },
    )
    theirs.run(short)

    n = len(urls)
    few: list[list[Cost]] = [[], []]
    all_: list[list[Cost]] = [[], []]
    results: list[Any] = [None, None]
    for i in range(options.rounds):
        for side in ((0, 1), (1, 0))[i % 2]:
            program: Any = (ours, theirs)[side]
            for _ in range(RUNS[side]):
                few[side].append(program.run(short)[0])
                cost, results[side] = program.run(long)
                all_[side].append(cost)
        (a, b), (c, d) = ([least(costs[-RUNS[k] :]) for k, costs in enumerate(sides)] for sides in (few, all_))
        print(
            f"round {i + 1}: CPU s for {FEW} and {n} records: ours {a:.2f}, {c:.2f}; datatrove {b:.2f}, {d:.2f}; "
            f"marginal ratio {(d - b) / (c - a):.1f}",
            flush=True,
        )

    texts = [ours.text(results[0]), theirs.text(results[1])]
    print_steps("datatrove", few[1], all_[1], 1, n, texts[1])
    print_steps("ours", few[0], all_[0], 0, n, texts[0])
    print(f"\n{'':10} {'start-up s':>10} {'documents s':>12} {'records/s':>10} {'peak MB':>8}", end="")
    print(f" {'extracted':>10} {'kept':>6} {'tokens':>9}")
    work_s: list[float] = []
    total_s: list[float] = []
    for side, name in ((1, "datatrove"), (0, "ours")):
        marginal = (least(all_[side]) - least(few[side])) / (n - FEW)
        start = least(few[side]) - FEW * marginal
        work_s.append(marginal * n)
        total_s.append(least(all_[side]))
        text = texts[side]
        print(
            f"{name:10} {start:10.2f} {marginal * n:12.2f} {1 / marginal:10.1f} "
            f"{max(a.rss_mb for a in all_[side]):8.0f} {len(text.extracted):10} {len(text.kept):6} {text.tokens:9}"
        )
    varied = statistics.median(f.cpu_s for f in few[0]) - least(few[0])
    print(f"our start-up varied by {varied:.2f} s, so the ratio is uncertain by {varied / work_s[1]:.0%}")
    truths = sorted(options.folder.glob("*.truth.jsonl"))
    if truths:
        lines = [json.loads(line) for file in truths for line in file.read_text().splitlines()]
        present = set(urls)
        print_fates([line for line in lines if line["url"] in present], texts[0], texts[1])
    if options.gold:
        print_gold(options.gold.resolve(), ours, theirs, stages)
    print(f"\nratio web_vs_datatrove_with_start_up {total_s[0] / total_s[1]:.1f}")
    print(f"ratio web_vs_datatrove {work_s[0] / work_s[1]:.1f}")


if __name__ == "__main__":
    main()
