"""How fast syncd is beside the programs that one would use otherwise, each pair measured in one run.

A module each for what is measured; what they share: `contest` (rounds, ratios, goals), `daemon`, `processes`,
`origin` and `peers` (who runs), `corpus` and `deliveries` (what they work on), `load` (who posts).
"""
