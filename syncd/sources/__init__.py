"""The platforms that syncd hears: one module each, listed in `table`.

A source says who sent a request and what a payload means, as `protocol` asks for; it is pure
and knows nothing of sockets, files or the journal.
"""
