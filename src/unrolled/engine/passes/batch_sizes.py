"""The batch sizes that a step is traced with."""

# A batch size that no other size or number of a step is: wherever it stands in the graph, it means the batch. A second
# one shows that it does (`trace.compare`).
BATCH = 1_203_400_007
OTHER_BATCH = 1_417_300_009
