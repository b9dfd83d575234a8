"""Our client beside vLLM's own benchmark client, on the same server with the same prompts: requests a second.

    python benchmarks/llm.py --server http://localhost:8000 --python PYTHON_WITH_VLLM [--data TEXTS.jsonl]

Throughput on the clock, not CPU time: what counts is whether the client keeps the server busy. Each round runs both
clients, in turn first and second, after a round that warms the server's prefix cache for both. Prompts are documents of
the example archive behind one instruction, all answers `--tokens` long. The last line is the median ratio of our
requests a second to vLLM's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path = [str(ROOT), *(p for p in sys.path if Path(p or ".").resolve() != Path(__file__).resolve().parent)]

from stages.llm.client import Client
from stages.llm.request import Request

INSTRUCTION = "Say in one sentence what the document is about.\n\n"

THEIRS = """
import argparse, sys
from vllm.benchmarks.serve import add_cli_args, main
parser = argparse.ArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""


def example_texts(n: int) -> list[str]:
    """The first thousand characters of `n` documents of the example archive."""
    from curation.config import Input
    from curation.inputs import find_inputs
    from stages.extract.html import ExtractHtml
    from stages.read.warc import ReadWarc

    reader, extract = ReadWarc(), ExtractHtml()
    extract.setup()
    texts: list[str] = []
    for source, file in find_inputs(
        [Input(files=[str(ROOT / "examples" / "debian-docs.warc.gz")], source="web")]
    ).files:
        for split in reader.splits(file, source):
            for outcome in reader.read(split, 64, 16 << 20):
                kept = outcome.docs if outcome.dropped is None else outcome.docs.filter(outcome.dropped.is_null())
                done = extract(kept)
                docs = done if not hasattr(done, "docs") else done.docs
                texts += [t[:1000] for t in docs["text"].to_pylist() if t and len(t) > 200]
                if len(texts) >= n:
                    return texts[:n]
    return texts


def ours(arguments: argparse.Namespace, texts: list[str]) -> float:
    """Seconds our client takes for all prompts."""
    client = Client(arguments.server, max_in_flight=arguments.in_flight)
    requests = [
        Request("", INSTRUCTION + text, arguments.tokens, extra={"ignore_eos": True, "messages": [_message(text)]})
        for text in texts
    ]
    client.identify()
    began = time.perf_counter()
    replies = client.ask(requests, lambda request, answer: answer)
    seconds = time.perf_counter() - began
    client.close()
    wrong = [reply for reply in replies if reply.error or reply.value.tokens_out != arguments.tokens]
    if wrong:
        raise SystemExit(f"{len(wrong)} of {len(replies)} answers are not as asked for: {wrong[0]}")
    return seconds


def _message(text: str) -> dict[str, str]:
    return {"role": "user", "content": INSTRUCTION + text}


def theirs(arguments: argparse.Namespace, texts: list[str], model: str) -> float:
    """Seconds vLLM's benchmark client takes for the same prompts, as it reports them."""
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(folder) / "prompts.jsonl"
        prompts.write_text("\n".join(json.dumps({"prompt": INSTRUCTION + text}) for text in texts))
        command = [
            *(arguments.python, "-c", THEIRS),
            *("--backend", "openai-chat", "--base-url", arguments.server, "--endpoint", "/v1/chat/completions"),
            *("--model", arguments.tokenizer or model, "--served-model-name", model),
            *("--dataset-name", "custom", "--dataset-path", str(prompts), "--skip-chat-template"),
            *("--custom-output-len", str(arguments.tokens), "--num-prompts", str(len(texts)), "--ignore-eos"),
            *("--max-concurrency", str(arguments.in_flight), "--temperature", "0", "--disable-shuffle"),
            *("--save-result", "--result-dir", folder, "--result-filename", "result.json", "--disable-tqdm"),
        ]
        environment = os.environ | {"TORCHDYNAMO_DISABLE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
        if done.returncode:
            raise SystemExit(f"vLLM's client failed:\n{done.stderr[-3000:]}")
        result = json.loads((Path(folder) / "result.json").read_text())
    if result["completed"] != len(texts):
        raise SystemExit(f"vLLM's client completed {result['completed']} of {len(texts)} requests")
    return float(result["duration"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--server", default="http://localhost:8000")
    parser.add_argument("--python", default=sys.executable, help="a Python that has vLLM and pandas")
    parser.add_argument("--tokenizer", help="folder of the model's tokenizer, for vLLM's client")
    parser.add_argument("--data", help="JSON lines with `text`; by default the example archive")
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--tokens", type=int, default=16, help="length of each answer")
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.data:
        lines = Path(arguments.data).read_text(encoding="utf-8").splitlines()
        texts = [json.loads(line)["text"][:1000] for line in lines[: arguments.prompts]]
    else:
        texts = example_texts(arguments.prompts)
    client = Client(arguments.server)
    model = client.identify().name
    client.close()
    size = statistics.mean(map(len, texts))
    print(f"{model}: {len(texts)} prompts of {size:.0f} characters, {arguments.tokens} tokens each", flush=True)
    ours(arguments, texts)
    ratios = []
    for i in range(arguments.rounds):
        seconds = {}
        for name in ("ours", "vllm") if i % 2 else ("vllm", "ours"):
            seconds[name] = ours(arguments, texts) if name == "ours" else theirs(arguments, texts, model)
        ratios.append(seconds["vllm"] / seconds["ours"])
        rates = {name: len(texts) / s for name, s in seconds.items()}
        print(f"round {i + 1}: ours {rates['ours']:.2f} requests/s, vLLM's {rates['vllm']:.2f}, ratio {ratios[-1]:.2f}")
    print(f"ratio llm_vs_vllm_client {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
