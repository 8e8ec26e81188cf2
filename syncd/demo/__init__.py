"""The stand-ins that let syncd be tried and tested where no platform can be reached."""
