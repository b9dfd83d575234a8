"""The engine: carries pipelines of stages over corpora of documents. See docs/design.md."""

from curation.kernel_cache import use_versioned_cache

use_versioned_cache()
