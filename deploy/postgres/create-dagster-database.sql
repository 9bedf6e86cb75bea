-- Run once by the PostgreSQL image, on an empty data directory: Dagster's own storage.
CREATE DATABASE dagster;
