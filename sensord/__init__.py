"""sensord: streaming anomaly detection for predictive maintenance."""

__version__ = "0.1.0"
