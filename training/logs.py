"""The record of a training: one JSON line a step, the same numbers for TensorBoard, a page of curves at the end.

`log.jsonl` holds each step once, however often the training was killed: what a checkpoint does not know is cut off
before the steps are done again. So the losses of a training that died and went on can be compared with one that did
not, line by line.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def read_log(folder: str | Path) -> list[dict[str, Any]]:
    """The lines of a training's `log.jsonl`; a last line that was cut short is left out."""
    found = []
    file = Path(folder) / "log.jsonl"
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def losses(folder: str | Path) -> dict[int, float]:
    """Step -> loss in nats per predicted token."""
    return {line["step"]: line["loss"] for line in read_log(folder) if "loss" in line}


class Log:
    """Writes a training's log, from `step` on; what is there of later steps is removed."""

    def __init__(self, folder: Path, step: int):
        from tensorboardX import SummaryWriter

        self.folder = folder
        kept = [line for line in read_log(folder) if line["step"] < step + ("event" in line)]
        file = folder / "log.jsonl"
        aside = file.with_suffix(".pending")
        aside.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        aside.replace(file)
        self._file = file.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def write(self, step: int, **values: Any) -> None:
        """One line; numbers also go to TensorBoard, those of nested mappings by `outer/inner`."""
        self._file.write(json.dumps({"step": step} | values) + "\n")
        self._file.flush()
        for name, value in _numbers(values):
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the files and write `curves.html`."""
        self._file.close()
        self._board.close()
        (self.folder / "curves.html").write_text(page(read_log(self.folder)), encoding="utf-8")


def _numbers(values: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, float]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", float(value)


_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 640, 240, 56, 24
_COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8d5a97", "#b8860b", "#4b4e6d", "#0f8b8d", "#a23b72")


def _chart(title: str, series: dict[str, list[tuple[int, float]]]) -> str:
    """One line chart as SVG. series: name -> (step, value)."""
    points = [p for line in series.values() for p in line if math.isfinite(p[1])]
    if not points:
        return ""
    (x0, x1), (y0, y1) = ((min(v), max(v)) for v in zip(*points, strict=True))
    x1, y1 = x1 + (x1 == x0), y1 + (y1 - y0) * 0.05 + (y1 == y0)

    def at(x: float, y: float) -> str:
        across = _LEFT + (x - x0) / (x1 - x0) * (_WIDTH - _LEFT - 8)
        return f"{across:.1f},{8 + (y1 - y) / (y1 - y0) * (_HEIGHT - _BOTTOM - 8):.1f}"

    parts = [f'<h2>{html.escape(title)}</h2><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img">']
    for i in range(5):
        y = y0 + (y1 - y0) * i / 4
        start, end = at(x0, y), at(x1, y)
        parts.append(f'<polyline points="{start} {end}" stroke="#ddd" fill="none"/>')
        parts.append(f'<text x="{_LEFT - 4}" y="{float(start.split(",")[1]) + 4}" text-anchor="end">{y:.3g}</text>')
    for i in range(5):
        x = x0 + (x1 - x0) * i / 4
        across = at(x, y0).split(",")[0]
        parts.append(f'<text x="{across}" y="{_HEIGHT - 6}" text-anchor="middle">{x:,.0f}</text>')
    for i, line in enumerate(series.values()):
        drawn = " ".join(at(x, y) for x, y in line if math.isfinite(y))
        parts.append(
            f'<polyline points="{drawn}" stroke="{_COLOURS[i % len(_COLOURS)]}" fill="none" stroke-width="1.5"/>'
        )
    parts.append("</svg>")
    if len(series) > 1:
        names = (f'<b style="color:{_COLOURS[i % len(_COLOURS)]}">{html.escape(n)}</b>' for i, n in enumerate(series))
        parts.append(f"<p>{' · '.join(names)}</p>")
    return "".join(parts)


def page(lines: list[dict[str, Any]]) -> str:
    """`curves.html`: loss, learning rate, gradient, balance of experts, and bits per byte of held-out documents."""
    charts = []
    titles = {
        "loss": "loss, nats per token",
        "learning_rate": "learning rate",
        "grad_norm": "norm of the gradient, before clipping",
        "overload": "busiest expert above its even share, mean of layers",
    }
    for key, title in titles.items():
        charts.append(_chart(title, {key: [(x["step"], x[key]) for x in lines if x.get(key) is not None]}))
    series: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for line in lines:
        for name, value in _numbers(line.get("bits_per_byte", {})):
            group, _, label = name.partition("/")
            series.setdefault(group, {}).setdefault(label or group, []).append((line["step"], value))
    for group, found in series.items():
        last = sorted(found.items(), key=lambda item: item[1][-1][1])[: len(_COLOURS)]
        charts.append(_chart(f"bits per byte of held-out documents, {group}", dict(last)))
    style = "body{font:14px sans-serif;max-width:680px;margin:auto}text{font-size:10px;fill:#666}h2{font-size:15px}"
    return f'<!doctype html><meta charset="utf-8"><title>Training</title><style>{style}</style>{"".join(charts)}\n'
