"""Workloads of SQL queries: a generator of a shop, skewed and correlated, with queries that planners get wrong."""
