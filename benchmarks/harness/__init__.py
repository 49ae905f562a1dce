"""What runs recsmith and its peers side by side: cells, workers, judgement, tables, pictures."""
