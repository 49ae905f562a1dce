"""Neural networks over a history without its order: collaborative filtering, autoencoders, towers."""
