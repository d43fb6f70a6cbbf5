"""Is a site sticky, ours or anybody's? It is asked from outside, as browsers ask."""
