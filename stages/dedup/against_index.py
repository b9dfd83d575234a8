"""Keys and duties of a dedup stage that compares with an index of earlier crawls and adds its own documents to it.

The comparison itself is in `earlier_crawls.py`, the index in `index.py`. Here is when they are called: parameters are
compared before a run, the state of the index is pinned where the gathers are planned, and the crawl is added when the
run is complete.

Trade-off: where the index lies and what the crawl is called are left out of the stage's recorded config, so that
neither makes a run start over; what is in the index does so for the gathers alone.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from pydantic import Field, PrivateAttr

from curation.errors import ConfigError, CurationError
from curation.stage import Shuffled
from stages.dedup.keepers import KeepsOne

if TYPE_CHECKING:
    from stages.dedup.index import Parameters


class AgainstIndex(KeepsOne):
    """A dedup stage that can be given an index."""

    index: str | None = Field(
        None, exclude=True, description="folder or URL of an index: compare with its documents, then add this run's"
    )
    crawl: str | None = Field(None, exclude=True, description="name that this run's documents have in the index")

    _base: Any = PrivateAttr(None)  # the Index that this run is compared with; Any, for it is imported when used

    @abstractmethod
    def parameters(self, method: str | None = None) -> Parameters:
        """How signatures are made. Without `method`, it is found by making some; `setup` must have been called."""

    def check(self) -> None:
        super().check()
        if (self.index is None) != (not self.crawl):
            raise ConfigError("`index` and `crawl` go together: where the index is, and this run's name in it")
        if self.index is not None:
            from stages.dedup.index import Index

            found = Index.latest(self.index)
            if found is not None:
                found.parameters.check(self.parameters(found.parameters.method), self.index)

    def state(self) -> str:
        if self.index is None:
            return ""
        if self._base is None:
            from stages.dedup.index import Index

            self.setup()
            parameters = self.parameters()
            found = Index.latest(self.index) or Index.new(self.index, parameters)
            found.parameters.check(parameters, self.index)
            self._base = found.before(str(self.crawl))
        return str(self._base.state())

    def complete(self, shuffled: Shuffled) -> str:
        if self.index is None:
            return ""
        from stages.dedup.index_update import add_crawl

        self.state()
        try:
            index, crawl = add_crawl(self.index, str(self.crawl), self._base, shuffled)
        except OSError as error:
            raise CurationError(f"index {self.index}: {type(error).__name__}: {error}; nothing was added") from error
        return (
            f"index {self.index}, version {index.version}: crawl '{crawl.name}' has {crawl.documents:,} documents, "
            f"{crawl.kept:,} of which were kept"
        )
