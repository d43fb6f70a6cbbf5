"""How many users a site holds: a visit is recorded, played by many at once, and reported."""
