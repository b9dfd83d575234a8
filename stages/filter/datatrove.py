"""Runs a filter or formatter of datatrove as a stage, for rules that this project has no stage of its own for.

datatrove's catalogue, and whatever others wrote for it, works on Python objects, one document at a time. This stage
builds them from the table, asks the block, and takes its verdict or its text.

Trade-off: convenience for speed. A document that passes through Python objects costs tens of microseconds before the
block does anything, and datatrove's word tokenizers much more; where a stage of this project does the same work
(`gopher_quality`, `filter_urls`, `replace_pii`, ...) take that one.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import typing
from typing import Any

import pyarrow as pa
from pydantic import ConfigDict, Field, PrivateAttr

from curation.errors import ConfigError
from curation.stage import Outcome, Stage

_PACKAGES = ("datatrove.pipeline.filters", "datatrove.pipeline.formatters")

# Blocks that no configuration makes fit for a stage, and why.
_REFUSED = {
    "SamplerFilter": "it draws its random numbers in the order of the documents, so that its result depends on batches",
    "LambdaFilter": "its argument is a Python function, which a configuration cannot give; write a stage of your own",
}

# Columns that a block has no use for as metadata: the page as fetched.
_NOT_METADATA = ("id", "text", "html", "content")


class Datatrove(Stage, name="datatrove"):
    """Runs a filter or formatter of datatrove by its class name.

    Every key besides `block` is an argument of the block:

        - datatrove: {block: GopherQualityFilter, min_doc_words: 30, language: fra}

    `block` is the name of a class in `datatrove.pipeline.filters` or `datatrove.pipeline.formatters`, or the full
    path of another (`my_package.my_module.MyFilter`) that derives from datatrove's `BaseFilter` or `BaseFormatter`.
    An unknown block or argument is found before the run starts, as are missing packages.

    The block sees a document's text, id, and the other columns as metadata. A filter's reason becomes the drop reason
    (`gopher_short_doc`), and the block's name in snake case if it gives none (`regex_filter`). Where a block changes
    the text of a document it keeps, the document gets that text (counter `documents_changed`); changes to metadata
    are not kept. A document on which a block raises an error goes to quarantine alone. Documents without text pass
    formatters untouched; filters see them as empty texts.
    """

    model_config = ConfigDict(extra="allow")

    block: str = Field(description="class name of a datatrove filter or formatter, or its full Python path")

    _block: Any = PrivateAttr(None)

    def adds(self) -> dict[str, pa.DataType]:
        return {"text": pa.large_string()}

    def check(self) -> None:
        block = self._make()
        if isinstance(getattr(block, "language", None), str):
            # datatrove loads its tokenizer at the first document, and would fail on every one if it is not installed
            from datatrove.utils.word_tokenizers import load_word_tokenizer

            try:
                load_word_tokenizer(block.language).word_tokenize("One sentence.")
            except (ImportError, ValueError, OSError) as error:
                raise ConfigError(f"{self.block} cannot split words of '{block.language}': {error}") from error

    def setup(self) -> None:
        self._block = self._make()

    def __call__(self, docs: pa.Table) -> Outcome:
        from datatrove.data import Document
        from datatrove.pipeline.filters.base_filter import BaseFilter, get_filter_result

        if self._block is None:
            self.setup()
        block = self._block
        is_filter = isinstance(block, BaseFilter)
        otherwise = _snake_case(type(block).__name__)
        metadata = docs.drop_columns([name for name in _NOT_METADATA if name in docs.column_names]).to_pylist()
        before = docs["text"].to_pylist()
        after: list[str | None] = []
        dropped: list[str | None] = []
        failed: list[str | None] = []
        for id_, text, about in zip(docs["id"].to_pylist(), before, metadata or [{}] * len(before), strict=True):
            reason, error, result = None, None, text
            _forget(block)
            try:
                if is_filter:
                    document = Document(text=text or "", id=id_, metadata=about)
                    keep, why = get_filter_result(block.filter_batch([document])[0])
                    reason = None if keep else str(why or otherwise)
                    result = document.text if keep and document.text != (text or "") else text
                elif text is not None:
                    result = block.format(text)
                if result is not None:
                    result.encode()  # a lone surrogate would fail the whole batch
            except Exception as exception:  # the block is foreign code: whatever it raises concerns this document only
                error, result = f"{type(exception).__name__}: {exception}", text
            after.append(result)
            dropped.append(reason if error is None else None)
            failed.append(error)
        changed = sum(a != b for a, b in zip(before, after, strict=True))
        self.metrics.count("documents_changed", changed)
        if changed:
            texts = pa.array(after, pa.large_string())
            docs = docs.set_column(docs.schema.get_field_index("text"), "text", texts)
        return Outcome(docs, dropped=pa.array(dropped, pa.string()), failed=pa.array(failed, pa.string()))

    def _arguments(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    def _make(self) -> Any:
        """The block. ConfigError for an unknown one, an argument it does not have, or one it does not take."""
        cls = self._class()
        arguments = self._arguments()
        known = {
            name: parameter
            for name, parameter in inspect.signature(cls.__init__).parameters.items()  # type: ignore[misc]
            if name not in ("self", "exclusion_writer") and parameter.kind is not parameter.VAR_KEYWORD
        }
        for name, value in arguments.items():
            if name not in known:
                raise ConfigError(f"{self.block} has no argument '{name}'{_nearest(name, known)}")
            if not _fits(value, _hints(cls).get(name)):
                raise ConfigError(f"{self.block}: '{name}' is {value!r}, expected {known[name].annotation}")
        missing = [n for n, p in known.items() if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
        if missing := [name for name in missing if name not in arguments]:
            raise ConfigError(f"{self.block} needs the argument '{missing[0]}'")
        try:
            return cls(**arguments)
        except Exception as error:  # of the block's constructor: a value it refuses, a package or file it misses
            raise ConfigError(f"{self.block} cannot be made: {error}") from error

    def _class(self) -> type:
        from datatrove.pipeline.filters.base_filter import BaseFilter
        from datatrove.pipeline.formatters.base import BaseFormatter

        module, _, name = self.block.rpartition(".")
        names: dict[str, type] = {}
        for package in (module,) if module else _PACKAGES:
            try:
                members = vars(importlib.import_module(package))
            except ImportError as error:
                raise ConfigError(f"block '{self.block}': {error}") from error
            for key, value in members.items():
                if inspect.isclass(value) and issubclass(value, BaseFilter | BaseFormatter):
                    names[key] = value
        if name not in names:
            where = f"a filter or formatter of {module}" if module else "a filter or formatter of datatrove"
            raise ConfigError(f"'{name}' is not {where}{_nearest(name, names)}")
        if names[name].__name__ in _REFUSED:
            raise ConfigError(f"{name} cannot be a stage: {_REFUSED[name]}")
        if inspect.isabstract(names[name]):
            raise ConfigError(f"'{name}' is an abstract class{_nearest(name, names)}")
        return names[name]


def _forget(block: Any) -> None:
    """Make a block's answer independent of the documents before: PIIFormatter hands out its placeholders in turn."""
    for part in vars(block).values():
        if hasattr(part, "_replace_i"):
            part._replace_i = 0


def _nearest(word: str, words: typing.Iterable[str]) -> str:
    names = sorted(words)
    folded = {name.lower(): name for name in names}
    near = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.5)
    return f"; did you mean '{folded[near[0]]}'?" if near else f"; there are: {', '.join(names)}"


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls.__init__)  # type: ignore[misc]
    except Exception:  # a hint that cannot be resolved is no reason to refuse a block
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value may be given for a parameter with a plain hint; any other hint takes everything.

    datatrove writes `int` for numbers that may be fractions, and None for whatever has a default of None.
    """
    choices = set(typing.get_args(hint) or (hint,)) - {type(None)}
    if value is None or not choices or not choices <= {bool, int, float, str}:
        return True
    if isinstance(value, bool):
        return bool in choices
    if isinstance(value, int | float):
        return bool(choices & {int, float})
    return isinstance(value, str) and str in choices
