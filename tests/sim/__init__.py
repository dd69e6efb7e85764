"""The simulator: a whole cluster in virtual time from one seed (docs/simulator.md)."""
