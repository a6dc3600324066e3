"""From ATen operations to values of a loop program.

`lowering.py` takes each operation to its rule: `rows.py` for [batch, features], `features.py` along the features,
`heads.py` for tensors of more axes.
"""
