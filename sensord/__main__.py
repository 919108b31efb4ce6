"""`python -m sensord`."""

from sensord.cli.main import main

main()
