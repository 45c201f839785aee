"""Applications that ask exported models."""
