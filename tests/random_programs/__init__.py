"""Programs that were not written by hand: drawn, run on a virtual clock, judged by rules and by trio."""
