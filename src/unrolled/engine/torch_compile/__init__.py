"""A scan inside torch.compile and torch.export."""
