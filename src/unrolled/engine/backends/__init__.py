"""Ways of running a loop over time: `eager.py`, the definition; `cpu/`, by the protocol of `base.py`."""
