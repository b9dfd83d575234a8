"""Draws a comparison of tokenizers: a line for each language, a dot on it for each tokenizer.

Trade-off: matplotlib is needed for this alone, so it is an extra (`plot`), imported when a plot is asked for.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from curation.errors import ConfigError
from stages.tokenize.compression import Compression

#: Okabe and Ito's colours, which people with colour blindness can tell apart; then they repeat with another marker.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v")
#: What can be written; `html` is a page with the plot and the table.
SUFFIXES = (".svg", ".png", ".pdf", ".html")


def check_plot(path: str) -> None:
    """ConfigError if a plot cannot be written there, before anything is counted."""
    if Path(path).suffix not in SUFFIXES:
        raise ConfigError(f"--plot {path}: expected a name that ends in one of {', '.join(SUFFIXES)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigError("--plot needs matplotlib: pip install 'curation[plot]'") from error


def write_plot(found: Compression, path: str) -> None:
    """Write the plot; the suffix says in which form. The languages stand in the first tokenizer's order."""
    suffix = Path(path).suffix
    data = _drawn(found, "svg" if suffix == ".html" else suffix[1:])
    if suffix == ".html":
        import jinja2

        template = Path(__file__).with_name("compression.html.j2").read_text(encoding="utf-8")
        svg = data.decode()
        page = jinja2.Environment(autoescape=True).from_string(template)
        names = list(found.n_tokens)
        rows = [
            (group, int(found.n_bytes[i]), [found.bytes_per_token(name)[i] for name in names])
            for i, group in enumerate(found.groups)
        ]
        data = page.render(svg=svg[svg.index("<svg") :], names=names, rows=rows, found=found).encode()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data)


def _drawn(found: Compression, form: str) -> bytes:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    order = np.argsort(found.bytes_per_token(next(iter(found.n_tokens))), kind="stable")
    lines = np.arange(len(order))
    # No random ids and no date: the same counts, the same bytes.
    with rc_context({"svg.hashsalt": "curation", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(8, 1.4 + 0.17 * len(order)), layout="constrained")
        axes = figure.add_subplot()
        for i, name in enumerate(found.n_tokens):
            colour, marker = _COLOURS[i % len(_COLOURS)], _MARKERS[i // len(_COLOURS) % len(_MARKERS)]
            label = f"{name} (mean {found.mean(name):.2f})"
            axes.plot(found.bytes_per_token(name)[order], lines, marker, color=colour, markersize=4, label=label)
        axes.set_yticks(lines, [found.groups[i] for i in order])
        axes.set_ylim(-1, len(order))
        axes.set_xlim(left=0)
        axes.grid(axis="y", color="#dddddd", linewidth=0.5)
        axes.set_axisbelow(True)
        axes.set_xlabel("bytes per token (more is better)")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper center", ncols=min(3, len(found.n_tokens)), frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format=form, dpi=150, metadata={"Date": None} if form == "svg" else None)
    return buffer.getvalue()
