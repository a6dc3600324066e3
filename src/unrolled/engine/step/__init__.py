"""What a step is: the graph and the guards of a user's step, and the keys of the library's own."""
