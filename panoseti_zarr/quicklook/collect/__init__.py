"""Collecting what a picture shows, in one pass over a store."""
