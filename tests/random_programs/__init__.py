"""Programs that no hand has written: drawn, run on a virtual clock, judged by rules and by trio."""
