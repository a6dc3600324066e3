"""The batch sizes that a step is traced with."""

# A batch size that no other size or number of a step is: wherever it stands in the graph, it means the batch. A second
# one shows that it does (`trace.compare`). One is odd and the other even: no remainder is the same of both, of the
# examples of a capture (`found.ROWS`) and of all batches.
BATCH = 1_203_400_007
OTHER_BATCH = 1_417_300_658
