"""From an asset to a verified file with a name: which are wanted, what they are called, how they are fetched.

Knows neither the journal nor the store: what is published, and under which of the names that it
would like, is decided above.
"""
