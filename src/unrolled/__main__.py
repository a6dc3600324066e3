"""`python -m unrolled`, which is `unrolled`."""

from unrolled.cli.main import main

main()
