"""`make bench`: every benchmark that needs nothing but this machine, one after the other."""

from benchmarks import engine, text_throughput

engine.main()
text_throughput.main()
