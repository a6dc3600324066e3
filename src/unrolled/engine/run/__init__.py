"""A plan runs: the loop under autograd, packed rows, checkpointing, several loops at once."""
