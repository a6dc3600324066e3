"""From a step to a plan, one file a pass; `pipeline.py` runs them in order."""
