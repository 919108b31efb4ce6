"""Cells and baselines side by side on tasks with a known answer; what `sensord compare` runs."""
