"""Tests of the evidence pack and of what people read of it."""
