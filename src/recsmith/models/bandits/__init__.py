"""Policies: they choose among candidates, learn from what their choices brought, and say how likely a choice was."""
