"""Dead letters: found, shown, edited, replayed and purged, each change one atomic step."""
