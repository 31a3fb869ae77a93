"""Prometheus exporter for a Dagster instance, which has no metrics end point of its own.

Runs live in pods of their own, so no long-lived process sees them all: the exporter asks the instance, through the
webserver's GraphQL API. run_counts.py says how its counters stay true.
"""
