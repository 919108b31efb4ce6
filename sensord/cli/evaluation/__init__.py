"""How `sensord evaluate` tells what it found: in the terminal, as JSON, as a page with pictures."""
