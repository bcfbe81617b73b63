"""`goaway up`: the whole pipeline on one machine, watched over."""
