"""Widgets that draw inked lines and repaint only what changed."""
