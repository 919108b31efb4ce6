"""The demo: a simulated fleet through the whole path, and the alerts beside the truth. `scripts/demo` runs it."""
