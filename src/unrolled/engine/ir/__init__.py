"""The loop program: its specification, the three programs of one loop, and the rows they run over."""
