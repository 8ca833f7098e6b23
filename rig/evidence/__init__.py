"""The evidence pack: what a run leaves behind, for machines (pack, junit) and for people (summary, report, plots)."""
