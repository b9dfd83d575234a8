"""Says whether two mathematical answers are the same, for `math_check.py`. A script that is killed when it takes long.

One JSON object a line in, `{"a": ..., "b": ...}`, one out, `{"same": true, false or null}`. null: one of them cannot be
read as an answer. Two answers are the same if math-verify says so in both directions, for its comparison is not
symmetric: a set of solutions may pass for one of them.
"""

import json
import sys


def main() -> None:
    from math_verify import parse, verify

    def read(text: str) -> list:
        marked = text if "$" in text or "\\boxed" in text else f"${text}$"
        return parse(marked, parsing_timeout=None) or parse(text, parsing_timeout=None)

    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        pair = json.loads(line)
        same = None
        try:
            a, b = read(pair["a"]), read(pair["b"])
            if a and b:
                same = bool(verify(a, b, timeout_seconds=None) and verify(b, a, timeout_seconds=None))
        except Exception:
            same = None
        print(json.dumps({"same": same}), flush=True)


if __name__ == "__main__":
    main()
