"""What every database plugin shares: queries, plan hints with their grammar, plans, and the comparison of the two."""
