"""How a scan runs. Comes in: a step, checked inputs, masks. Goes out: outputs and the last state.

The engine knows no cell, no layer and no task; it sees a step as a function on tensors.
"""
