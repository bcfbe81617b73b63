"""History through the very engine that decides live."""
