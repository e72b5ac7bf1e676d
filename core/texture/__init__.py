"""A photo's pixels on a body's surface: what the camera saw where it saw it, a soft guess elsewhere."""
