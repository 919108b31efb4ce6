"""Messages of other systems. Each format is a parser from a record to points; `points` makes readings of them.

Our own JSON has a decoder of its own in `decoders`, which is many times as fast.
"""
