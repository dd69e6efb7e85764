"""Rounds of faults over real processes: relays, recording clients, what their records must obey."""
