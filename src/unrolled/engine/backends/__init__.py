"""Ways of running a loop over time: `eager.py`, the definition, over any step; `cpu/`, over loop programs, compiled."""
