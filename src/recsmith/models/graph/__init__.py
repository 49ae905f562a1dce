"""Models that walk or filter the graph of users and items."""
