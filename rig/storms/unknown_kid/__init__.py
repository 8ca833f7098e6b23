"""The key storm: its cases, an origin that counts, the callers, and the subjects."""
