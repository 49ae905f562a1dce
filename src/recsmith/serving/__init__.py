"""The service: answers over HTTP, rules, and the store of what happened."""
