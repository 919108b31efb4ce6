"""The fault suite: the daemon as processes on a real Kafka and a real PostgreSQL, and everything that can go wrong.

An uninterrupted run over a topic leaves tables: the oracle. Then, fault by fault, other daemons read the same topic
into another database, and what they leave must be the same. `scripts/faults` runs all of it; `test_faults.py` a part.
"""
