"""HTTP API over the weather products in the bucket."""
