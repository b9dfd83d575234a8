"""Models that label documents."""

import curation  # noqa: F401  (chooses the cache of compiled kernels, before any of them is imported)
