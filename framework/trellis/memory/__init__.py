"""What was measured, kept for ever: the journal, and the memory that retrieves from it."""
