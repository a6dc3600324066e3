"""How a scan runs.

Inputs: a step, checked tensors, masks. Outputs: outputs and the last state. The engine knows no cell, no layer and no
task; to it a step is a function on tensors.
"""
