"""From a frame to observations: who is in the picture, and where their body, hands and face points are."""
