"""How differences between two bundles' alerts are told: in the terminal, for programs, as a page with pictures."""
