"""Photos and videos to frames."""
