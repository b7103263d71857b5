"""Pure numerics: polynomial fits, reciprocal plans, and their error bounds. numpy only."""
