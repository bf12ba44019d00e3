"""Takes the entry-point name of a plugin that comes with trellis."""

raise AssertionError("the second provider of a name is never imported")
