"""Drawing the pictures, with matplotlib."""
