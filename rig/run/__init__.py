"""A run: its steps in their order, and the pack while it is open."""
