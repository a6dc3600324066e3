"""The training loop, its batches, its run folder, its processes, and what a person sees of it."""
