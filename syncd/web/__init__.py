"""The HTTP server of both listeners: sockets, connections, bytes to requests and answers to bytes.

What a request means, and what is answered, is a `Service`'s business: `intake`'s where deliveries
arrive, `observe`'s where the daemon is looked at. Neither knows of the other.
"""
