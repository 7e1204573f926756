"""Long work in stretches: what is shown and saved between them."""
