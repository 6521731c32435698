"""Classifiers' networks and their layers."""
