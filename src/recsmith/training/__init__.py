"""Loops that know no model (extra ``torch``): epochs, devices, schedules, early stop, checkpoints, processes."""
