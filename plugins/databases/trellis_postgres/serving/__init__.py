"""Verified plans on an application's own connections: psycopg connections that recognise queries and serve what was measured.

recognition   a text and its parameters → one text with literals, and back
state         what is served at one time, and how a text is found in it
plans         what a process serves of a journal: decisions, counts, drift, in a thread of its own
guard         the hinted try: settings, time-out, and the untouched query where it fails
connection    `Connection` and `AsyncConnection`
"""
