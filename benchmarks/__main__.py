"""`make bench`: every benchmark that needs nothing but this machine, one after the other."""

from benchmarks import text_throughput

text_throughput.main()
