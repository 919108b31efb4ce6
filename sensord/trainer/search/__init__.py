"""A search for better settings, by history alone; what `sensord tune` runs. Imports optuna in `study` only."""
