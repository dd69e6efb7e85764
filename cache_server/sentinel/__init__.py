"""The Sentinel-compatible front: its settings, commands, events and scripts."""
