"""Models that read a history in its order: what comes next?"""
