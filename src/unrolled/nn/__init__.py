"""Layers over whole sequences, and what stands on them: torch's drop-ins, losses, CRF, attention, encoders, heads."""

from unrolled.nn.recurrent import Recurrent as Recurrent
