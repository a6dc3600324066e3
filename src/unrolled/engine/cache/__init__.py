"""Plans of calls like those before: in memory, and on the disk as plain data."""
