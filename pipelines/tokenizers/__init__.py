"""Tokenizers in TensorFlow ops, and the files that they are made from."""
