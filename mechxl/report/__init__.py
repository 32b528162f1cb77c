"""Findings to one HTML page."""
