"""Pages with pictures: one HTML file that needs nothing else. Used by the demo and by `sensord evaluate`."""
