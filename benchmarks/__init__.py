"""One file a question, one harness; results are appended to results/*.csv and never removed."""
