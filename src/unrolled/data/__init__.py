"""What turns a user's files into batches.

Inputs: files. Outputs: records, numbers, then batches. The data know no model.
"""
