"""Us and the peers side by side: ``python -m benchmarks``; see README.md."""
