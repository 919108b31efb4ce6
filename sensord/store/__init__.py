"""All that sensord keeps in SQL: alerts, progress, dead letters, devices, the registry. The only user of sqlalchemy."""

from sqlalchemy import Engine

__all__ = ["Engine"]
