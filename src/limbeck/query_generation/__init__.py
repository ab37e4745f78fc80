"""Questions for passages: written, filtered, and kept with where they come from."""
