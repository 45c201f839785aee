"""What `validate` finds in data."""
