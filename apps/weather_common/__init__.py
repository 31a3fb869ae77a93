"""What the pipeline (writer), the API (reader) and the exporter share: record, object keys, secrets, logging."""
