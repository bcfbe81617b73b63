"""Warnings and notices: what people should know goes out by mail, desktop or chat, in digests.

`notices` says what a record means in words, `digest` when it is told, `progress` what may be committed: all
three are pure, the caller brings the time. `courier` delivers, `watch` looks after the pipeline itself.
"""
