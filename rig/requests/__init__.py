"""What is sent: bodies, signatures, keys, and what must come of each request. Pure."""
