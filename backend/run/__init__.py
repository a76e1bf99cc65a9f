"""Doing it: migrations, their controls, and the verdict at the end."""
