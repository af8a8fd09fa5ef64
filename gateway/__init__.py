"""Envoy in front of the services: its configuration, the descriptor set it reads, and what renders both."""
