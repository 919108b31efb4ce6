"""Has alerts leave the system: incidents out of the outbox, notices to sinks. Used by `cli`."""
