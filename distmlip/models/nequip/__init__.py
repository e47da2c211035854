"""NequIP and Allegro."""
