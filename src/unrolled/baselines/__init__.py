"""Trivial methods, one file each, that every result stands beside."""
