"""The errors a user can meet, each with the exit code that the command line gives it.

A user's mistake is told in one line that names file, line, key or document, says what was expected and what to
do; it never shows a traceback. Anything that is not one of these classes is a bug of ours and does show one.
"""


class CurationError(Exception):
    """A run that failed for a reason the user can act on. Exit code 1."""

    exit_code = 1


class ConfigError(CurationError):
    """A mistake in pipelines.yaml, in a flag or in an input path, found before any work starts. Exit code 2."""

    exit_code = 2


class ResourceUnavailable(CurationError):
    """What a stage needs outside the run is not to be had: a server does not answer, a budget is spent. No document is
    to blame, so none goes to quarantine: the run stops, and goes on from what is committed when it is started again."""


class ContractError(CurationError):
    """A stage broke its contract (lost rows, changed ids, returned undeclared columns): the run must not go on."""


class CorruptFile(CurationError):
    """A file between two tasks no longer holds what was committed. The run makes it again and goes on."""

    def __init__(self, name: str):
        super().__init__(f"{name} does not hold what was written there: a disk or somebody changed it")
        self.name = name

    def __reduce__(self) -> tuple:
        return type(self), (self.name,)


class StorageError(Exception):
    """An input could not be read. That is no damage in it: it may well be readable the next time.

    No OSError, which decompressors raise, or take for their own.
    """


def error_text(error: BaseException, most: int = 300) -> str:
    """`ValueError: message` on one line of at most so many characters."""
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:most]
