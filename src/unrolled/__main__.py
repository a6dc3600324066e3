"""`python -m unrolled`, which is `unrolled`."""

from unrolled_command import main

main()
