"""One widget a file: traits and glue, no mathematics, no torch."""
