"""valmon: Ethereum validator monitoring as a Dagster asset graph over PostgreSQL."""
