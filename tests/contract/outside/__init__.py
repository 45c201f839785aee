"""What an outsider may write: strategies of each shape, found by their modules' names."""
