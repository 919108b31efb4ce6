"""The page: fleets by health, alerts and why, devices, bundles, how things stand, and answers. Built by `cli`."""
