"""The storm of unknown key ids: cases, an origin that counts, callers, and who is stormed."""
