"""What can be done to documents: one module per stage, grouped by deed."""

import curation  # noqa: F401  (chooses the cache of compiled kernels, before any of them is imported)
