"""The companion harness: trains Qwen-shaped models on packed shards, and decides questions about data by training."""
