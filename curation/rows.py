"""All rows of a run as one table of DuckDB: documents kept, dropped and failed, each with where it ended.

A run holds every record of its input exactly once, in three folders of parquet with nearly the same columns. As one
table `docs` they can be asked anything: `language = 'swh_Latn' and dropped`. DuckDB reads the columns that a question
needs, group by group, and spills what does not fit in memory, so a run of a billion rows can be asked on a laptop.

Trade-off: 25 MB more to install, for a language that people know and an engine that is faster than what we would write.
Files are those that run.json lists, never a glob. Objects in stores are read through fsspec, as everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from curation.errors import ConfigError
from curation.stats import read_stats
from curation.storage import Storage

if TYPE_CHECKING:
    import duckdb

#: Folder -> what became of its documents.
FATES = {"documents": "kept", "dropped": "dropped", "quarantine": "failed"}


def connect() -> duckdb.DuckDBPyConnection:
    """A database in memory that loads no extension and no file of the user's settings."""
    import duckdb

    return duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def add_rows(connection: duckdb.DuckDBPyConnection, run: str, name: str = "docs") -> None:
    """Make the view `name`: all columns of the run's rows, and `fate` (`kept`, `dropped`, `failed`), a boolean of each
    of these names, and `stage`, `reason`, `detail`, which are null for kept documents. ConfigError if it is no run."""
    storage, stats = Storage(run), read_stats(run)
    if not storage.local:
        connection.register_filesystem(storage.fs)
    parts = []
    for folder, fate in FATES.items():
        files = [storage.path(f["name"]) for f in stats.info.get("files", {}).get(folder, []) if f["rows"]]
        if not files:
            continue
        urls = files if storage.local else [storage.fs.unstrip_protocol(path) for path in files]
        listed = ", ".join(map(_quoted, urls))
        flags = ", ".join(f"{str(fate == other).lower()} as {other}" for other in FATES.values())
        nothing = "" if fate != "kept" else ", null::varchar as stage, null::varchar as reason, null::varchar as detail"
        parts.append(
            f"select *, '{fate}' as fate, {flags}{nothing} from read_parquet([{listed}], union_by_name = true)"
        )
    if not parts:
        raise ConfigError(f"{run} holds no rows (status: {stats.info['status']})")
    connection.execute(f"create view {name} as {' union all by name '.join(parts)}")


def ask(connection: duckdb.DuckDBPyConnection, query: str, what: str) -> list[dict[str, Any]]:
    """Rows of a query as dictionaries. A mistake in the user's part of it (`what`) is a ConfigError of one line."""
    import duckdb

    try:
        result = connection.execute(query)
        names = [column[0] for column in result.description or []]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    except (
        duckdb.ParserException,
        duckdb.BinderException,
        duckdb.CatalogException,
        duckdb.ConversionException,
    ) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        hint = next((f"; {line}" for line in lines[1:] if line.startswith(("Candidate", "Did you mean"))), "")
        raise ConfigError(f"{what}: {(lines[0].partition(': ')[2] or lines[0]).rstrip('!')}{hint}") from error
