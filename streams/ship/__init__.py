"""MTA logs → frames on `smtp.events`. `run` is what the command line calls."""
