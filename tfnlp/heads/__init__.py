"""Output heads, one file for each geometry."""
