"""The stub server of the tests of language models, for those of vision models."""

import sys
from pathlib import Path

HERE = str(Path(__file__).parents[2] / "llm")
if HERE not in sys.path:
    sys.path.insert(0, HERE)
