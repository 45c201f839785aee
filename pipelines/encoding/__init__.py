"""Rows to tensors that a network reads: tokens, segments, windows, tags, prompts, blocks."""
