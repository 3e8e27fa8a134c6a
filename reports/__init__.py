"""Pages for people: what a folder of results says of itself, and several folders side by side."""
