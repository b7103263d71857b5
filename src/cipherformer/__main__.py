"""`python -m cipherformer` is the same as `cipherformer`."""

from cipherformer.cli import main

main()
