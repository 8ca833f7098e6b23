"""What people read of a run: summary, HTML, JUnit, plots, comparisons, data frames. Offline, from a pack alone."""
