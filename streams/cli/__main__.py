"""`python -m streams.cli`: the `goaway` command, for those who start it by its interpreter."""

from streams.cli.main import main

main()
