"""Games written in VGDL, a fast engine that plays them, level generators and curricula."""
