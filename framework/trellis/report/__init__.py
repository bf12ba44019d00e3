"""What a run shows a person at its end."""
