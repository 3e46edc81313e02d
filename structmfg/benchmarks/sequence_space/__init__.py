"""Speed in the sequence space."""
