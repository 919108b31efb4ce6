"""`python -m sensord.cli`."""

from sensord.cli.main import main

main()
