"""Everything sensord keeps in SQL: alerts, progress, dead letters, devices, the registry; the only user of sqlalchemy."""
