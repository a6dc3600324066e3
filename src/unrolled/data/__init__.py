"""Files come in; records, then numbers, then batches go out. The data know no model."""
