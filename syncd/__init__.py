"""syncd mirrors what a design platform announces by webhook into a local tree."""

__version__ = "0.1.0"
