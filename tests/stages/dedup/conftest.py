"""`run_barrier(barrier, shards, batch_rows=..., shuffle=...)`: a barrier over shards in memory."""

import barrier_in_memory
import pytest


@pytest.fixture
def run_barrier():
    return barrier_in_memory.run
