"""The ways of giving PostgreSQL's planner hints, one per file; each writes the same tree of hints in its own words."""
