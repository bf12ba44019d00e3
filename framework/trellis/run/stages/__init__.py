"""The stages that ship with the framework."""
