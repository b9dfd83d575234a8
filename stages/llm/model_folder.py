"""Finds a model's folder, and gives its files a digest: the name under which only these weights answer."""

from __future__ import annotations

from pathlib import Path

from curation.errors import ConfigError, CurationError

_DIGESTED_WHOLE = 64 << 20


def model_digest(folder: Path) -> str:
    """12 hex digits of xxh128 of a model's files: names, sizes and content; of a file above 64 MiB its first and last
    MiB and 14 between, so that a model of 100 GB takes a second. ConfigError if there is no config.json."""
    import xxhash

    if not (folder / "config.json").is_file():
        raise ConfigError(f"'{folder}' is not a model's folder: it has no config.json")
    digest = xxhash.xxh3_128()
    for file in sorted(f for f in folder.rglob("*") if f.is_file()):
        name = file.relative_to(folder)
        if name.name.startswith(".") or name.suffix == ".md" or ".cache" in name.parts:
            continue
        size = file.stat().st_size
        digest.update(f"{name.as_posix()}\0{size}\0")
        with file.open("rb") as handle:
            if size <= _DIGESTED_WHOLE:
                digest.update(handle.read())
                continue
            for i in range(16):
                handle.seek(i * (size - (1 << 20)) // 15)
                digest.update(handle.read(1 << 20))
    return digest.hexdigest()[:12]


def find_model(model: str) -> Path:
    """The folder of a model: the path given, or the snapshot of a hub's repository, downloaded where one is reached."""
    path = Path(model).expanduser()
    if path.is_dir():
        return path.resolve()
    if model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise ConfigError(f"model '{model}' is no folder, nor the name of a hub's repository (Qwen/Qwen3-8B)")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model))
    except Exception as error:
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CurationError(f"model '{model}' is no folder here and could not be downloaded: {problem}") from error
