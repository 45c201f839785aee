"""Strings to batched tensors: files, data sets, tokenizers, batches."""
