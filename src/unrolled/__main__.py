"""`python -m unrolled`, which is `unrolled`."""

from unrolled.cli import main

main()
