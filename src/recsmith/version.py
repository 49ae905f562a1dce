"""The version: one place for package, bundles and reports."""

__version__ = "0.1.0"
