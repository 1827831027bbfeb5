"""Other people's tests, run on aionursery from where they are installed; none of them is here."""
