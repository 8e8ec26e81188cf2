"""What syncd says of itself: numbers, log lines, the admin listener's answers and status page."""
