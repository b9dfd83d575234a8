"""What a run leaves for its user, as bytes: two runs are the same if these are."""

#: Folders of a run that hold results; `work/` and `run.json` hold times.
FOLDERS = ("documents", "dropped", "quarantine", "tokens", "duplicates")


def result_bytes(run):
    """Path in the run -> content, of all files of its result."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for folder in FOLDERS
        for path in sorted((run / folder).rglob("*"))
        if path.is_file()
    }
