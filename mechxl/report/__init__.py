"""Lays out findings as one HTML page."""
