"""What `sensord doctor` looks at: the machine, the database, the bundles, Kafka. Each part tells findings."""
