"""What the demo scene is made of, one theme a file."""
