"""Files that are whole or absent: trees of tensors in safetensors, and the model file."""
