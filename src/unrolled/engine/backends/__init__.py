"""One file a back-end. Every back-end has the same function `run`, with the same signature as `eager.run`."""
