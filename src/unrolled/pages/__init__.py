"""Pages of runs and models: what `unrolled report` writes and `unrolled watch` serves."""
