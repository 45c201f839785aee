"""Command lines, and what a terminal shows."""
