"""What is said of a model: metrics and pictures."""
