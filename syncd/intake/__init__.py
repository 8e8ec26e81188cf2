"""The receiver: what must hold before a delivery is stored, and what is answered.

A request is bounded, its sender checked, its signature verified, and it is handed to the
journal; the answer is 200 once the journal has it. What a delivery says is none of this room's
business.
"""
